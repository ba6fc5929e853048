"""Both Redis clients: every way a Redis is reached, and every way it fails."""

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import Address
from beanwatch.net.redis_client import RedisClient
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import RedisError, open_redis, parse_redis_url, redact
from tests.real import ROOT, Proxy, Redis, wait_until
from tests.real.redis_server import Sentinel, SpecialRedis
from tests.real.silent_dns import run_with_silent_dns

Ping = Callable[..., object]


@pytest.fixture(params=[RedisReader, RedisClient])
def ping(request: pytest.FixtureRequest) -> Ping:
    """Writes and reads over a new connection; once with each client."""

    def ping(url: str, password: str = "", timeout: float = 5.0) -> object:
        with request.param(parse_redis_url(url, password), timeout) as client:
            client.execute([("SET", "a", "1")])
            return client.execute([("GET", "a")])[0]

    return ping


def test_a_plain_server_and_a_numbered_database(redis_server: Redis, ping: Ping) -> None:
    assert ping(f"redis://127.0.0.1:{redis_server.port}/3") == b"1"
    assert redis_server.client().execute_command("DBSIZE") == 0
    assert redis_server.client().info("keyspace")["db3"]["keys"] == 1


def test_a_password_from_the_url_or_from_a_file(tmp_path: Path, ping: Ping) -> None:
    with SpecialRedis(tmp_path, "--requirepass", "p:w@/%") as server:
        assert ping(f"redis://:p%3Aw%40%2F%25@127.0.0.1:{server.port}") == b"1"
        assert ping(f"redis://127.0.0.1:{server.port}", "p:w@/%") == b"1"
        with pytest.raises(RedisError, match="NOAUTH"):
            ping(f"redis://127.0.0.1:{server.port}")
        with pytest.raises(RedisError, match="WRONGPASS") as caught:
            ping(f"redis://:hunter2@127.0.0.1:{server.port}")
        assert "hunter2" not in str(caught.value)


def test_an_acl_user(tmp_path: Path, ping: Ping) -> None:
    with SpecialRedis(tmp_path, "--user", *["watch", "on", ">secret", "~*", "+@all"]) as server:
        assert ping(f"redis://watch:secret@127.0.0.1:{server.port}") == b"1"
        server.client().execute_command("ACL", "SETUSER", "watch", "-set")
        with pytest.raises(RedisError, match="NOPERM"):
            ping(f"redis://watch:secret@127.0.0.1:{server.port}")


def test_a_unix_socket(tmp_path: Path, ping: Ping) -> None:
    with SpecialRedis(tmp_path, "--unixsocket", str(tmp_path / "r.sock")):
        assert ping(f"unix://{tmp_path}/r.sock?db=2") == b"1"
    (tmp_path / "r.sock").unlink()
    with pytest.raises(RedisError, match=f"redis unix:{tmp_path}/r.sock: no such socket"):
        ping(f"unix://{tmp_path}/r.sock?db=2")


@pytest.fixture
def tls_redis(tmp_path: Path, certificate: Path) -> Iterator[Redis]:
    options = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"]
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)]
    with SpecialRedis(tmp_path / "redis", *options, *files) as server:
        yield server


def test_tls_with_the_authority_named_in_the_url(
    tls_redis: Redis, certificate: Path, ping: Ping
) -> None:
    url = f"rediss://127.0.0.1:{tls_redis.port}/0"
    assert ping(f"{url}?ssl_ca_certs={certificate}") == b"1"
    with pytest.raises(RedisError, match="certificate"):
        ping(url)
    with pytest.raises(RedisError, match="mismatch"):  # the certificate names 127.0.0.1 only
        ping(f"rediss://127.1:{tls_redis.port}/0?ssl_ca_certs={certificate}")


def test_sentinel_names_the_master(redis_server: Redis, tmp_path: Path, ping: Ping) -> None:
    with Sentinel(tmp_path / "sentinel", redis_server) as sentinel:
        hosts = f"127.0.0.1:1,127.0.0.1:{sentinel.port}"  # the first one refuses
        assert ping(f"redis+sentinel://{hosts}/main/1") == b"1"
        with socket.create_server(("127.0.0.1", 0)) as silent:
            hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{sentinel.port}"
            assert ping(f"redis+sentinel://{hosts}/main/1") == b"1"
        with pytest.raises(RedisError, match=r"knows (no )?service 'other'"):
            ping(f"redis+sentinel://{hosts}/other")


def test_a_refused_connection_is_one_line(ping: Ping) -> None:
    with pytest.raises(RedisError, match=r"redis 127.0.0.1:1: connection refused"):
        ping("redis://127.0.0.1:1")


def test_a_frozen_server_costs_the_timeout_and_no_more(redis_server: Redis, ping: Ping) -> None:
    redis_server.freeze()
    with pytest.raises(RedisError, match=r"no answer within 0.3 s"):
        ping(redis_server.url, timeout=0.3)


def test_a_timeout_is_the_cause_also_if_the_package_notices_it_first(redis_server: Redis) -> None:
    redis_server.freeze()
    late = itertools.count(0, -60)  # the client itself would wait for another minute
    url = parse_redis_url(redis_server.url)
    with (
        RedisClient(url, 0.2, clock=lambda: float(next(late))) as client,
        pytest.raises(RedisError, match=r"no answer within 0.2 s") as caught,
    ):
        client.execute([("PING",)])
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01\x02\r\n"])
def test_something_that_is_no_redis(
    redis_server: Redis, proxy: Callable[[str], Proxy], reply: bytes, ping: Ping
) -> None:
    front = proxy(f"127.0.0.1:{redis_server.port}")
    front.garble(reply)
    with pytest.raises(RedisError, match="this is not Redis"):
        ping(f"redis://{front.address}/0")


@pytest.mark.parametrize("kind", [RedisReader, RedisClient])
def test_a_reply_cut_short(
    redis_server: Redis, proxy: Callable[[str], Proxy], kind: type[RedisReader | RedisClient]
) -> None:
    redis_server.client().set("long", "x" * 1000)
    front = proxy(f"127.0.0.1:{redis_server.port}")
    front.truncate(100)
    with (
        kind(parse_redis_url(f"redis://{front.address}/0"), 5.0) as client,
        pytest.raises(RedisError, match="closed the connection"),
    ):
        client.execute([("GET", "long")])


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://h", "expected redis://"),
        ("redis://h:port", "the port must be a number"),
        ("redis://h/zero", "invalid literal|database"),
        ("redis+sentinel://h:26379", "the service is missing"),
        ("unix://relative", "absolute path"),
        ("unix://relative/path", "absolute path"),
        ("redis://h?db=2", "the parameter 'db' is not allowed here$"),
        ("rediss://h?ssl_cert_reqs=none", "not allowed here; allowed: ssl_ca_certs"),
        (
            "redis+sentinel://h/main?ssl_ca_certs=/f",
            "the parameter 'ssl_ca_certs' is not allowed here",
        ),
        ("redis://h/0#x", "#x has no meaning here"),
    ],
)
def test_a_bad_url_says_what_was_expected(url: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse_redis_url(url)


def test_the_defaults_of_a_url() -> None:
    assert parse_redis_url("redis://").address == Address("127.0.0.1", 6379)
    assert parse_redis_url("redis://[::1]:7000/5").address == Address("::1", 7000)


@pytest.mark.parametrize("mark", "/?#")
def test_a_password_that_was_not_encoded_is_not_told(mark: str) -> None:
    with pytest.raises(ValueError, match="write / as %2F") as error:
        parse_redis_url(f"redis://:s3c{mark}ret@redis.example.org/0")
    assert "s3c" not in str(error.value)


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30))
def test_no_password_survives_redaction(secret: str) -> None:
    from urllib.parse import quote

    url = f"redis://user:{quote(secret, safe='')}@h:1/0"
    assert parse_redis_url(url).password == secret
    assert redact(url) == "redis://h:1/0"


def test_a_file_of_authorities_that_is_not_there_is_named(redis_server: Redis) -> None:
    url = parse_redis_url(f"rediss://127.0.0.1:{redis_server.port}/0?ssl_ca_certs=/no/such/file")
    for kind in (RedisReader, RedisClient):
        with pytest.raises(RedisError, match="ssl_ca_certs=/no/such/file: No such file"):
            kind(url, 5.0).execute([("TIME",)])


COMMANDS = [
    ("SET", "text", "a"), ("HSET", "hash", "f", 1), ("ZADD", "set", 1.5, "m"), ("INCR", "number"),
    ("GET", "text"), ("MGET", "text", "none"), ("HGETALL", "hash"), ("ZSCORE", "set", "m"),
    ("ZRANGE", "set", 0, -1, "WITHSCORES"), ("EXPIRE", "text", 60), ("DEL", "number"),
]  # fmt: skip


def test_both_clients_return_the_same_replies(redis_server: Redis) -> None:
    url = parse_redis_url(redis_server.url)
    replies = []
    for kind in (RedisReader, RedisClient):
        redis_server.client().flushall()
        with kind(url, 5.0) as client:
            replies.append(client.execute(COMMANDS))
            info, (seconds, _) = client.execute([("INFO", "server"), ("TIME",)])
            assert b"redis_version" in info
            assert int(seconds) > 0
    assert replies[0] == replies[1]


@pytest.mark.parametrize(
    ("command", "code"),
    [(("REPLICAOF", "127.0.0.1", "1"), "READONLY"), (("CONFIG", "SET", "maxmemory", "1"), "OOM")],
)
def test_a_redis_that_refuses_to_write_says_why(
    redis_server: Redis, ping: Ping, command: tuple[str, ...], code: str
) -> None:
    redis_server.client().execute_command(*command)
    with pytest.raises(RedisError, match=f"redis 127.0.0.1:{redis_server.port}: Redis ") as caught:
        ping(redis_server.url)
    assert caught.value.code == code
    assert f": Redis takes no writes: {code}, " in str(caught.value)


def test_a_client_connects_again_after_a_restart(redis_server: Redis) -> None:
    with open_redis(parse_redis_url(redis_server.url), 5.0) as client:
        client.execute([("TIME",)])
        redis_server.stop()
        with pytest.raises(RedisError, match="refused"):
            client.execute([("TIME",)])
        redis_server.start()
        client.execute([("TIME",)])


def test_a_client_goes_on_after_an_error_and_after_a_timeout(redis_server: Redis) -> None:
    redis_server.client().set("text", "a")
    with open_redis(parse_redis_url(redis_server.url), 0.3) as client:
        with pytest.raises(RedisError, match="not an integer"):
            client.execute([("INCR", "text"), ("GET", "text")])
        assert client.execute([("GET", "text")]) == [b"a"]
        redis_server.freeze()
        with pytest.raises(RedisError, match=r"no answer within 0.3 s"):
            client.execute([("GET", "text")])
        redis_server.thaw()
        assert wait_until(lambda: client.execute([("GET", "text")])) == [b"a"]


def test_a_server_that_answers_byte_by_byte_costs_the_timeout_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):
                for _ in range(30):
                    peer.sendall(b"+")
                    time.sleep(0.1)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        started = time.monotonic()
        with (
            open_redis(parse_redis_url(f"redis://127.0.0.1:{port}"), 0.5) as client,
            pytest.raises(RedisError, match=r"no answer within 0.5 s"),
        ):
            client.execute([("PING",)])
        assert time.monotonic() - started < 2
        thread.join(10)


def test_what_nobody_waits_for_any_more_is_not_written_after_a_slow_connect(
    redis_server: Redis, proxy: Callable[[str], Proxy]
) -> None:
    front = proxy(f"127.0.0.1:{redis_server.port}")
    front.latency(0.4)  # each way, so that the login alone takes longer than the limit
    with open_redis(parse_redis_url(f"redis://{front.address}/1"), 0.5) as client:
        with pytest.raises(RedisError, match=r"no answer within 0.5 s"):
            client.execute([("SET", "late", "1")])
        front.restore()
        wait_until(lambda: not [t for t in threading.enumerate() if t.name == "beanwatch-redis"])
        assert client.execute([("GET", "late")]) == [None]


def test_a_name_server_that_hangs_is_named_as_the_cause(tmp_path: Path) -> None:
    script = (
        "from beanwatch.net.redis_url import RedisError, open_redis, parse_redis_url\n"
        "client = open_redis(parse_redis_url('redis://redis.example.org'), 0.5)\n"
        "for _ in range(3):\n"
        "    try:\n"
        "        client.execute([('TIME',)])\n"
        "    except RedisError as error:\n"
        "        print(error)\n"
    )
    done = run_with_silent_dns(tmp_path, [sys.executable, "-c", script])
    reason = "the host name cannot be resolved (no answer from the name server)"
    assert done.stdout == f"redis redis.example.org:6379: {reason}\n" * 3, done.stderr


def test_only_commands_that_use_redis_import_the_package() -> None:
    script = (
        "import sys\n"
        "from beanwatch.cli import COMMANDS, beanwatch\n"
        "import click\n"
        "for name in COMMANDS:\n"
        "    beanwatch.get_command(click.Context(beanwatch), name)\n"
        "import beanwatch.worker\n"
        "print('redis' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_client_works_on_where_the_system_allows_no_more_threads(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with open_redis(parse_redis_url(redis_server.url), 5.0) as client:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        client.execute([("SET", "a", "1")])
        assert client.execute([("GET", "a")]) == [b"1"]
