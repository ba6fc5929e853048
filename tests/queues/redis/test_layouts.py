"""What all layouts have in common: how a Redis is reached, how it fails, what a poll costs."""

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.queues.base import ReaderOptions, ServerError, Wanted
from beanwatch.queues.model import QUEUE_FIELDS
from beanwatch.queues.redis import replies as parsing
from beanwatch.queues.redis.connection import RedisConnection
from beanwatch.queues.redis.layout import Poll
from beanwatch.queues.registry import find_system
from beanwatch.queues.servers import Server
from tests.queues.redis.conftest import LAYOUTS, SETTINGS, make_server, read, read_problems
from tests.queues.redis.replies import REPLIES
from tests.real import ROOT, Proxy, Redis
from tests.real.redis_server import Sentinel, SpecialRedis

Run = Callable[..., subprocess.CompletedProcess[str]]
STRICT = (
    *("keys", "scan", "hgetall", "sort", "eval", "config|get", "hkeys", "sscan", "zscan", "hscan"),
    *("set", "lpush", "rpush", "del", "expire", "hset", "zadd", "sadd"),
)


def fill(layout: str, client: "redis.Redis") -> str:
    """Write one queue with two ready jobs; return its name."""
    match layout:
        case "list":
            client.lpush("mail", "a", "b")
            client.lpush("mail:failed", "c")
        case "stream":
            client.xgroup_create("orders", "shop", "0", mkstream=True)
            client.xadd("orders", {"a": 1})
            client.xadd("orders", {"a": 2})
            return "orders"
        case "rq":
            client.sadd("rq:queues", "rq:queue:mail")
            client.rpush("rq:queue:mail", "1", "2")
            client.hset("rq:job:1", "enqueued_at", "2026-01-01T00:00:00.000000Z")
            client.zadd("rq:failed:mail", {"3": 9_999_999_999})
            client.sadd("rq:workers:mail", "rq:worker:w")
            client.hset("rq:worker:w", "state", "idle")
        case "sidekiq":
            client.sadd("queues", "mail")
            client.lpush("queue:mail", json.dumps({"enqueued_at": 1_760_000_000.5}), "{}")
            client.sadd("processes", "web1:7:abc")
            info = json.dumps({"queues": ["mail"], "concurrency": 5})
            client.hset("web1:7:abc", mapping={"info": info, "busy": 1, "quiet": "false"})
            client.hset("web1:7:abc:work", "t1", json.dumps({"queue": "mail", "payload": "{}"}))
            client.zadd("dead", {json.dumps({"jid": "x", "queue": "mail", "class": "M"}): 1.76e9})
        case "celery":
            client.lpush("mail", "{}")
            client.lpush("mail\x06\x163", "{}")
        case "laravel":
            client.rpush("laravel_database_queues:mail", '{"id":"1","createdAt":1760000000}', "{}")
    return "mail"


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("is_lasting", [True, False])
def test_a_reading_in_a_check_and_in_a_lasting_program(
    redis_server: Redis, layout: str, is_lasting: bool
) -> None:
    client = redis_server.client()
    name = fill(layout, client)
    server = make_server(layout, redis_server.url)
    reading = read(server, is_lasting=is_lasting, heads=("ready", "buried"))
    assert (reading.trouble, list(reading.implausible)) == ("", [])
    assert reading.queues is not None
    assert reading.server is not None
    state, info = reading.queues[name], client.info()
    assert state.ready == 2
    for field in QUEUE_FIELDS:
        if not server.can_tell(field):
            assert getattr(state, field) is None
    if server.can_tell("head_ready_age"):
        assert state.head_ready_age is not None
        assert state.head_ready_age >= 0
    assert reading.server.instance == info["run_id"]
    assert reading.server.version == info["redis_version"]
    assert reading.server.ready == 2
    assert None not in (
        reading.server.uptime,
        reading.server.memory,
        reading.server.connections,
        reading.server.queues,
    )
    assert reading.received_at.keys() == reading.queues.keys()
    assert reading.server.native.keys() <= dict(server.system.native_server).keys()
    assert state.native.keys() <= dict(server.system.native_queue).keys()


def test_only_the_queues_that_are_wanted_are_read(redis_server: Redis, layout: str) -> None:
    name = fill(layout, redis_server.client())
    server = make_server(layout, redis_server.url)
    reading = read(server, server=False, names=[name, "no such queue"])
    assert reading.server is None
    assert list(reading.queues or {}) == [name]
    reading = read(server, names=())
    assert reading.server is not None
    assert reading.queues == {}


def test_entry_points_follow_the_declared_fields(
    redis_server: Redis, layout: str, run: Run, tmp_path: Path
) -> None:
    name = fill(layout, redis_server.client())
    server = make_server(layout, redis_server.url)
    done = run(server, "beanwatch", "queues", "list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    row = next(row for row in json.loads(done.stdout) if row["queue"] == name)
    assert row["ready"] == 2
    assert row["missing_jobs"] is None
    assert f"{name} (" in run(server, "beanwatch", "queues", "show", name).stdout
    assert "first ready job" in run(server, "beanwatch", "queues", "peek", name).stdout
    done = run(server, "check_queue_depth", "-H", "jobs", "-Q", name, "-c", 1)
    assert (done.returncode, "2 jobs ready" in done.stdout) == (2, True)
    assert run(server, "check_queue_server", "-H", "jobs").returncode == 0
    arguments = ("--once", "--graphite", "-", "--state", tmp_path / "collect.json")
    done = run(server, "beanwatch", "collect", *arguments)
    assert done.returncode == 0, done.stderr
    paths = [line.split()[0] for line in done.stdout.splitlines()]
    assert any(path.endswith(f".{name}.ready") for path in paths)
    assert not [path for path in paths if path.endswith(f".{name}.missing_jobs")]
    for check, field in (
        ("buried", "buried"),
        ("age", "head_ready_age"),
        ("consumers", "consumers"),
    ):
        if not server.can_tell(field):
            done = run(server, f"check_queue_{check}", "-H", "jobs", "-Q", name)
            assert done.returncode == 3
            assert server.system.name in done.stdout.splitlines()[0]


def test_an_age_that_is_unknown_is_not_0_and_that_of_an_empty_queue_is(
    redis_server: Redis, layout: str, run: Run
) -> None:
    client = redis_server.client()
    name = fill(layout, client)
    server = make_server(layout, redis_server.url)
    if not server.can_tell("head_ready_age"):
        assert (read(server).queues or {})[name].head_ready_age is None
        return
    client.delete("rq:job:1")
    client.rpush("queue:mail", "not JSON")
    client.lpush("laravel_database_queues:mail", "[1, 2")
    if layout == "stream":
        client.delete("orders")
        client.xgroup_create("orders", "shop", "0", mkstream=True)
        client.xadd("orders", {"n": 1}, id="5-1")
    reading = read(server, heads=("ready",))
    assert (reading.queues or {})[name].head_ready_age is None
    assert not reading.unread_heads  # to read it again would not help
    done = run(server, "check_queue_age", "-H", "jobs", "-Q", name)
    assert (done.returncode, "is not known" in done.stdout) == (3, True)
    for key in ("rq:queue:mail", "queue:mail", "laravel_database_queues:mail", "orders"):
        client.delete(key)
    reading = read(server, heads=("ready",))
    assert (reading.queues or {})[name].head_ready_age == 0
    assert run(server, "check_queue_age", "-H", "jobs", "-Q", name).returncode == 0


# -- rights


def rights(layout: str) -> list[list[str]]:
    """The two ACL lines of a layout in docs/queues.md: for reading, and for all actions."""
    text = (ROOT / "docs" / "queues.md").read_text()
    (section,) = [
        part for part in text.split("\n### ") if f'layout = "{layout}"\n' in part and "ACL " in part
    ]
    lines = re.findall(r"^ *ACL SETUSER beanwatch (.*)$", section, re.M)
    assert len(lines) == 2, lines
    return [line.replace("SECRET", "secret").split() for line in lines]


def with_rights(server: Redis, layout: str, number: int) -> str:
    """Give a user exactly the documented rights, and return a URL with the user's name."""
    client = server.client()
    client.execute_command("ACL", "SETUSER", "beanwatch", "reset", *rights(layout)[number])
    return f"redis://beanwatch:secret@127.0.0.1:{server.port}"


@pytest.mark.parametrize("is_lasting", [True, False])
def test_the_documented_rights_suffice_for_reading(
    redis_server: Redis, layout: str, is_lasting: bool
) -> None:
    name = fill(layout, redis_server.client())
    server = make_server(layout, with_rights(redis_server, layout, 0))
    reading = read(server, is_lasting=is_lasting, heads=("ready", "buried"), problems=True)
    assert not reading.trouble
    assert (reading.queues or {})[name].ready == 2


def trouble_of(server: Server) -> str:
    """Why a reading of everything fails; "" if it does not."""
    try:
        return read(server, heads=("ready", "buried")).trouble
    except ServerError as error:
        return str(error)


def test_no_documented_right_is_one_too_many(redis_server: Redis, layout: str) -> None:
    fill(layout, redis_server.client())
    url = with_rights(redis_server, layout, 0)
    client = redis_server.client()
    for right in rights(layout)[0]:
        if not right.startswith("+"):
            continue
        client.execute_command("ACL", "SETUSER", "beanwatch", f"-{right[1:]}")
        assert "NOPERM" in trouble_of(make_server(layout, url)), f"{right} is not needed"
        client.execute_command("ACL", "SETUSER", "beanwatch", right)


def test_the_documented_rights_suffice_for_actions(redis_server: Redis, layout: str) -> None:
    name = fill(layout, redis_server.client())
    server = make_server(layout, with_rights(redis_server, layout, 1))
    read(server, heads=("ready", "buried"), problems=True)
    supported = server.system.actions
    failed = "dead-set" if layout == "sidekiq" else name
    with closing(server.system.open_actions(server, 5.0)) as actions:
        assert actions.peek(name, "ready") is not None
        assert len(actions.list_jobs(name, "ready", 10)) == 2
        if "kick" in supported:
            actions.list_jobs(failed, "buried", 10)
            list(actions.kick(failed, 10))
        if "delete_jobs" in supported:
            list(actions.delete_jobs(failed, ["1"]))
        if "empty" in supported:
            assert sum(actions.empty(name, "ready", 10)) >= 2
            assert actions.list_jobs(name, "ready", 10) == []
        if "empty" in supported and server.can_tell("buried"):
            list(actions.empty(failed, "buried", 10))


def test_a_wrong_password_is_one_line_without_it(redis_server: Redis, layout: str) -> None:
    with_rights(redis_server, layout, 0)
    url = f"redis://beanwatch:hunter2@127.0.0.1:{redis_server.port}"
    for is_lasting in (True, False):
        with pytest.raises(ServerError, match="WRONGPASS") as caught:
            read(make_server(layout, url), is_lasting=is_lasting)
        assert "hunter2" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_password_of_a_file_and_a_missing_file(redis_server: Redis, tmp_path: Path) -> None:
    with_rights(redis_server, "list", 0)
    url, file = f"redis://beanwatch@127.0.0.1:{redis_server.port}", tmp_path / "password"
    server = make_server("list", url, password_file=str(file))
    with pytest.raises(ServerError, match=r"servers\.jobs\.password_file"):
        read(server)
    file.write_text("secret\n")
    assert read(server).queues is not None


# -- how a Redis is reached


def test_tls_sentinel_and_a_unix_socket(redis_server: Redis, tmp_path: Path) -> None:
    fill("list", redis_server.client())
    with Sentinel(tmp_path / "sentinel", redis_server) as sentinel:
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main"
        for is_lasting in (True, False):
            queues = read(make_server("list", url), is_lasting=is_lasting).queues or {}
            assert queues["mail"].ready == 2
    with SpecialRedis(tmp_path / "unix", "--unixsocket", str(tmp_path / "r.sock")) as other:
        fill("list", other.client())
        queues = read(make_server("list", f"unix://{tmp_path}/r.sock?db=0")).queues or {}
        assert queues["mail"].ready == 2
    with pytest.raises(ValueError, match="rediss"):
        make_server("list", redis_server.url, ca_file="/etc/ca.pem")


def test_tls_with_the_authorities_of_the_configuration(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    options = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"]
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key)]
    with SpecialRedis(tmp_path / "redis", *options, *files) as server:
        url = f"rediss://127.0.0.1:{server.port}/0"
        for is_lasting in (True, False):
            found = read(make_server("list", url, ca_file=str(cert)), is_lasting=is_lasting)
            assert (found.queues or {})["mail"].ready == 0
            with pytest.raises(ServerError, match="certificate"):
                read(make_server("list", url), is_lasting=is_lasting)


# -- how it fails


@pytest.mark.parametrize("is_lasting", [True, False])
def test_a_frozen_redis_costs_the_timeout(
    redis_server: Redis, layout: str, is_lasting: bool
) -> None:
    server = make_server(layout, redis_server.url)
    redis_server.freeze()
    started = time.monotonic()
    with pytest.raises(ServerError, match="no answer within") as caught:
        read(server, is_lasting=is_lasting, timeout=0.5)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert time.monotonic() - started < 5
    assert str(caught.value).startswith(str(server))


@pytest.fixture
def dripping() -> Iterator[int]:
    """The port of a server that sends a byte of an endless reply each 50 ms."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.sendall(b"$100000000\r\n")
                    while not stop.wait(0.05):
                        connection.sendall(b"x")
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    stop.set()
    listener.close()


@pytest.mark.parametrize("is_lasting", [True, False])
def test_a_server_that_drips_bytes_costs_the_timeout(dripping: int, is_lasting: bool) -> None:
    server = make_server("rq", f"redis://127.0.0.1:{dripping}")
    with pytest.raises(ServerError, match="no answer within"):
        read(server, is_lasting=is_lasting, timeout=0.6)


def test_the_pipelines_of_a_reading_share_its_timeout(redis_server: Redis) -> None:
    now = [1000.0]
    server = make_server("rq", redis_server.url)
    connection = RedisConnection(server, 60.0, lambda: now[0], is_lasting=True)
    connection.start(60.0)
    assert connection.ask([("PING",)]) == [b"PONG"]
    redis_server.freeze()
    now[0] += 59.8
    started = time.monotonic()
    with pytest.raises(ServerError, match="no answer within"):
        connection.ask([("PING",)])
    assert time.monotonic() - started < 30
    connection.close()


def test_a_restart_in_the_middle(redis_server: Redis, layout: str) -> None:
    server = make_server(layout, redis_server.url)
    reader = server.system.open_reader(server, ReaderOptions(5.0, is_lasting=True))
    with closing(reader):
        before = reader.read(Wanted()).server
        redis_server.restart()
        fill(layout, redis_server.client())
        reading = reader.read(Wanted())
        assert reading.server is not None
        assert before is not None
        assert reading.server.instance != before.instance
        assert reading.server.ready == 2


def test_a_key_of_another_type_is_said_and_is_not_0(redis_server: Redis, run: Run) -> None:
    keys = {
        "list": ["mail"],
        "stream": ["orders"],
        "rq": ["rq:queue:mail", "rq:queues"],
        "sidekiq": ["queue:mail", "processes", "dead"],
        "celery": ["mail"],
        "laravel": ["laravel_database_queues:mail"],
    }
    client = redis_server.client()
    for layout in LAYOUTS:
        for key in keys[layout]:
            client.flushall()
            name = fill(layout, client)
            client.delete(key)
            client.set(key, "text")
            server = make_server(layout, redis_server.url)
            reading = read(server, names=[name])
            assert not reading.trouble, layout
            assert any(repr(key) in text for text in reading.implausible), (layout, key)
            if key.endswith(name):
                assert (reading.queues or {})[name].ready is None, layout
    done = run(server, "check_queue_server", "-H", "jobs")
    assert done.returncode == 3
    assert "holds another type of value than layout 'laravel' needs" in done.stdout


def test_a_redis_that_refuses_writes_is_told(tmp_path: Path, layout: str) -> None:
    for code, severity in (("OOM", "critical"), ("READONLY", "warning"), ("MISCONF", "critical")):
        with Redis(tmp_path / code) as server:
            fill(layout, server.client())
            server.refuse_writes(code)
            (problem,) = read_problems(make_server(layout, server.url))
            assert problem.startswith(f"{severity}: accepts no new jobs: Redis takes no writes")
            assert code in problem


def test_evicted_keys_are_told(redis_server: Redis) -> None:
    client = redis_server.client()
    server = make_server("list", redis_server.url)
    limit = client.info("memory")["used_memory"] + 200_000
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", limit)
    assert read_problems(server) == []
    for number in range(400):
        client.set(f"key{number}", "x" * 2000)
    (problem,) = read_problems(server)
    assert re.match(r"warning: has evicted \d+ keys since its start", problem)


def test_what_is_no_redis_is_said(proxy: Callable[[str], Proxy]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        for is_lasting in (True, False):
            with pytest.raises(ServerError, match="this is not Redis"):
                read(make_server("rq", f"redis://127.0.0.1:{port}"), is_lasting=is_lasting)
        thread.join()


@given(st.sampled_from(LAYOUTS), st.data())
def test_any_replies_give_numbers_or_unknown(layout: str, data: st.DataObject) -> None:
    """Each layout, with a server that answers anything: no exception, and no number below 0."""
    server = make_server(layout, "redis://127.0.0.1:1")
    system = find_system("redis", layout)
    reader: Any = system.open_reader(server, ReaderOptions())

    def ask(commands: Any) -> list[Any]:
        return [data.draw(REPLIES) for _ in commands]

    poll = Poll(ask, ("ready", "buried"), layout)
    poll.now = 1.8e9
    reading = reader._layout(server.config, poll)
    reading.start([data.draw(REPLIES) for _ in reading.start_commands()])
    names = [*reading.names(), "mail", "orders"]
    for state in reading.read(list(dict.fromkeys(names))):
        for field in QUEUE_FIELDS:
            value = getattr(state, field)
            assert value is None or value >= 0
        assert all(value >= 0 for value in state.native.values())
    for value in (*reading.server_fields().values(), *reading.native().values()):
        assert value is None or value >= 0
    assert all("\n" not in problem.text for problem in poll.problems)


@given(REPLIES)
def test_any_reply_is_parsed_or_unknown(reply: Any) -> None:
    for parse in (
        *(parsing.count_of, parsing.name_of, parsing.json_of, parsing.time_of),
        *(parsing.fields_of, parsing.server_time_of, parsing.text_of, parsing.list_of),
    ):
        parse(reply)


# -- costs


@pytest.mark.parametrize("layout", ["list", "rq", "sidekiq", "celery", "laravel"])
def test_a_poll_of_1000_queues_is_a_few_writes_of_cheap_commands(
    redis_server: Redis, layout: str
) -> None:
    client = redis_server.client()
    names = tuple(f"queue {number}" for number in range(1000))
    if layout == "rq":
        client.sadd("rq:queues", *(f"rq:queue:{name}" for name in names))
    if layout == "sidekiq":
        client.sadd("queues", *names)
    settings = {"queues": names} if "queues" in SETTINGS[layout] else {}
    server = make_server(layout, redis_server.url, **settings)
    with closing(server.system.open_reader(server, ReaderOptions())) as reader:
        sent = []
        connection: Any = reader
        send = connection._connection._send
        connection._connection._send = lambda commands: sent.append(len(commands)) or send(commands)
        client.config_resetstat()
        reading = reader.read(Wanted(heads=("ready", "buried"), problems=True))
        assert len(reading.queues or {}) >= 1000
        assert len(sent) <= 10, sent
        assert max(sent) <= 6000
    used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert not used.intersection(STRICT), used


def test_odd_names(redis_server: Redis, layout: str) -> None:
    names = ("with space", "a/b:c", "grün", "x" * 255, "{tag}", "'quote\"")
    client = redis_server.client()
    for name in names:
        client.lpush(name, "1")
        client.lpush(f"laravel_database_queues:{name}", "1")
        client.lpush(f"queue:{name}", "{}")
        client.sadd("queues", name)
        client.sadd("rq:queues", f"rq:queue:{name}")
        client.rpush(f"rq:queue:{name}", "1")
        client.xgroup_create(f"stream {name}", "shop", "0", mkstream=True)
        client.xadd(f"stream {name}", {"a": 1})
    client.sadd("queues", b"\xff\xfe", "two\nlines", "")
    found = names if layout != "stream" else tuple(f"stream {name}" for name in names)
    settings = {"queues": found} if "queues" in SETTINGS[layout] else {}
    reading = read(make_server(layout, redis_server.url, **settings), heads=("ready",))
    assert reading.queues is not None
    assert {name: reading.queues[name].ready for name in found} == dict.fromkeys(found, 1)
    if layout == "sidekiq":
        assert len(reading.implausible) == 3
        assert set(reading.queues) == {*names, "dead-set"}


def test_a_queue_that_vanishes(redis_server: Redis, layout: str) -> None:
    client = redis_server.client()
    name = fill(layout, client)
    server = make_server(layout, redis_server.url)
    with closing(server.system.open_reader(server, ReaderOptions(is_lasting=True))) as reader:
        assert (reader.read(Wanted()).queues or {})[name].ready == 2
        client.flushall()
        reading = reader.read(Wanted(heads=("ready", "buried")))
        if "queues" in SETTINGS[layout]:
            assert (reading.queues or {})[name].ready == 0
        else:
            assert name not in (reading.queues or {})


@pytest.mark.parametrize("layout", ["list", "stream", "celery", "laravel"])
def test_queues_must_be_named(redis_server: Redis, layout: str) -> None:
    with pytest.raises(ValueError, match="needs queues"):
        make_server(layout, redis_server.url, queues=())
    with pytest.raises(ValueError, match="is a glob"):
        make_server(layout, redis_server.url, queues=("mail*",))
