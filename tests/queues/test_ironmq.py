"""IronMQ: read from a fake made of its documentation, as no real server was there."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beanwatch.collectors.poll.observer import Observer
from beanwatch.config import ServerConfig
from beanwatch.net.address import AddressError
from beanwatch.queues.base import (
    Chosen,
    ProtocolError,
    ReaderOptions,
    Reading,
    ServerError,
    UnsupportedError,
    Wanted,
)
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import Server, resolve_servers
from tests.real.drip import Drip
from tests.real.ironmq import BASE, PROJECT, TOKEN, IronMq
from tests.real.process import closed_port

ALL = Wanted()
PUSH = {"subscribers": [{"name": "a", "url": "http://a"}, {"name": "b", "url": "http://b"}]}


@pytest.fixture
def ironmq() -> Iterator[IronMq]:
    with IronMq() as server:
        yield server


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return str(path)


def make(url: str, token: str, **config: Any) -> Server:
    (server,) = resolve_servers({"iron": ServerConfig(url, password_file=token, **config)})
    return server


def read(server: Server, wanted: Wanted = ALL, timeout: float = 5.0) -> Reading:
    return server.system.open_reader(server, ReaderOptions(timeout)).read(wanted)


def queues(server: Server, wanted: Wanted = ALL) -> dict[str, QueueState]:
    return dict(read(server, wanted).queues or {})


def test_the_numbers_of_pull_and_push_queues(ironmq: IronMq, token: str) -> None:
    ironmq.create("orders", "a", "b")
    ironmq.create("mail", type="multicast", push=PUSH)
    ironmq.queues["orders"]["total_messages"] = 7
    reading = read(make(ironmq.url, token))
    assert reading.server
    assert reading.server.queues == 2
    assert reading.queues == {
        "orders": QueueState("orders", 2, buried=0, puts=7, native={"message_expiration": 604800}),
        "mail": QueueState(
            "mail", 0, buried=0, consumers=2, puts=0, native={"message_expiration": 604800}
        ),
    }
    assert reading.received_at.keys() == {"orders", "mail"}


def test_dead_letters_count_for_their_only_source(ironmq: IronMq, token: str) -> None:
    ironmq.create("orders", dead_letter={"queue_name": "dead", "max_reservations": 3})
    ironmq.create("dead", "x", "y")
    ironmq.create("push", type="unicast", push={**PUSH, "error_queue": "not-yet"})
    found = queues(make(ironmq.url, token))
    assert (found["orders"].buried, found["dead"].buried, found["push"].buried) == (2, 0, 0)
    assert (found["dead"].ready, found["dead"].is_dead_letter) == (2, True)
    assert not found["orders"].is_dead_letter
    # A second source, although it is not one of the queues that the check reads.
    server = make(ironmq.url, token, queues=("orders",))
    assert queues(server, Wanted(names=["orders"]))["orders"].buried == 2
    ironmq.create("mail", dead_letter={"queue_name": "dead", "max_reservations": 3})
    assert queues(server, Wanted(names=["orders"]))["orders"].buried is None


def test_a_thousand_queues_cost_a_request_each_and_the_pages(ironmq: IronMq, token: str) -> None:
    for number in range(1000):
        ironmq.create(f"q{number}")
    assert len(queues(make(ironmq.url, token))) == 1000
    assert len(ironmq.requests) == 1000 + 11  # the last page is empty
    ironmq.requests.clear()
    assert len(queues(make(ironmq.url, token, queues=("q99*", "q5")))) == 12
    # Two prefixes: 11 names in one page, 111 in two, each with an empty page at its end.
    assert len(ironmq.requests) == 12 + 2 + 3
    ironmq.requests.clear()
    assert len(queues(make(ironmq.url, token), Wanted(server=False, names=["q1", "none"]))) == 1
    assert len(ironmq.requests) == 2


def test_a_server_with_smaller_pages_hides_no_queue(ironmq: IronMq, token: str) -> None:
    ironmq.max_page = 7
    for number in range(30):
        ironmq.create(f"q{number}")
    assert len(queues(make(ironmq.url, token))) == 30


def test_only_the_wanted_queues_are_read(ironmq: IronMq, token: str) -> None:
    for name in "abc":
        ironmq.create(name)
    server = make(ironmq.url, token)
    reading = read(server, Wanted(choose=lambda names: Chosen(["a"], ["c"])))
    assert list(reading.queues or ()) == ["a", "c"]
    assert reading.chosen == Chosen(["a"], ["c"])
    ironmq.requests.clear()
    only_server = read(server, Wanted(names=()))
    assert only_server.server
    assert (only_server.server.queues, only_server.queues) == (3, {})
    assert not [path for path in ironmq.requests if path.startswith(f"GET {BASE}/")]
    assert queues(make(ironmq.url, token, queues=("b",)), Wanted(names=["a"])) == {}


ODD = ["my queue", "a/b", "grüße", "x" * 255, "100%", "q?n=1", "a&b", "#", "-Q", "..", "a+b"]


def test_odd_names_arrive_as_they_are(ironmq: IronMq, token: str) -> None:
    for name in ODD:
        ironmq.create(name, "x")
    found = queues(make(ironmq.url, token))
    assert found.keys() == set(ODD)
    assert {queue.ready for queue in found.values()} == {1}


def test_a_queue_that_vanishes_is_left_out(ironmq: IronMq, token: str) -> None:
    ironmq.create("a")
    ironmq.create("b")

    def choose(names: Any) -> Chosen:
        del ironmq.queues["a"]
        return Chosen(names)

    assert list(queues(make(ironmq.url, token), Wanted(choose=choose))) == ["b"]


def test_a_server_that_comes_back_is_read_again(token: str) -> None:
    with IronMq() as first:
        server = make(first.url, token)
        reader = server.system.open_reader(server, ReaderOptions(is_lasting=True))
        reader.read(ALL)
        first.lies[BASE] = b"<html>maintenance</html>"
        with pytest.raises(ProtocolError, match="this is not IronMQ"):
            reader.read(ALL)
        first.lies.clear()
        first.create("orders")
        assert "orders" in (reader.read(ALL).queues or {})


# -- faults


def test_a_wrong_token_is_told_and_never_shown(ironmq: IronMq, tmp_path: Path) -> None:
    path = tmp_path / "wrong"
    path.write_text("wrong-token")
    path.chmod(0o600)
    with pytest.raises(ServerError) as failure:
        read(make(ironmq.url, str(path)))
    assert str(failure.value) == (
        f"{ironmq.url}: HTTP 401 Unauthorized (a wrong token, or one of version 2)"
    )
    with pytest.raises(ServerError, match="there is no token: set password_file"):
        read(make(ironmq.url, ""))


def test_an_absent_server_is_named(token: str) -> None:
    url = f"ironmq+http://127.0.0.1:{closed_port()}/{PROJECT}"
    with pytest.raises(ServerError) as failure:
        read(make(url, token))
    assert str(failure.value).startswith(f"{url}: connection refused")


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n\r\n{"])
def test_a_server_that_hangs_or_drips_costs_no_more_than_the_timeout(
    token: str, start: bytes
) -> None:
    with Drip(start) as drip:
        started = time.monotonic()
        url = f"ironmq+http://{drip.address}/{PROJECT}"
        with pytest.raises(ServerError, match=r"no answer within .* s$") as failure:
            read(make(url, token), timeout=0.5)
        assert isinstance(failure.value.__cause__, TimeoutError)
        assert time.monotonic() - started < 3


def test_queues_that_hang_cost_no_more_than_the_timeout(
    ironmq: IronMq, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        ironmq.create(f"q{number}")
    is_over = threading.Event()
    truth = ironmq.answer

    def hang(method: str, path: str, body: bytes) -> tuple[int, Any]:
        if path.startswith(f"{BASE}/"):
            is_over.wait(30)
        return truth(method, path, body)

    monkeypatch.setattr(ironmq, "answer", hang)
    started = time.monotonic()
    reading = read(make(ironmq.url, token), timeout=1.0)
    is_over.set()
    assert time.monotonic() - started < 5
    assert reading.queues is None
    assert reading.trouble.startswith(f"cannot read the queues: {ironmq.url}: no answer")


@pytest.fixture
def failing(ironmq: IronMq, monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    """Names of queues, and how often the server still fails when it is asked for one."""
    left: Counter[str] = Counter()
    truth = ironmq.answer

    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        name = path.removeprefix(f"{BASE}/")
        if left[name]:
            left[name] -= 1
            return 500, {"msg": "Internal Error"}
        return truth(method, path, body)

    monkeypatch.setattr(ironmq, "answer", answer)
    return left


ALWAYS = 10**6


def test_one_queue_that_fails_takes_no_other_away(
    ironmq: IronMq, token: str, failing: "Counter[str]"
) -> None:
    ironmq.create("orders", "a")
    ironmq.create("broken", "b")
    failing["broken"] = ALWAYS
    reading = read(make(ironmq.url, token))
    assert reading.trouble == ""
    assert reading.queues
    assert (reading.queues["orders"].ready, reading.queues["orders"].buried) == (1, 0)
    assert reading.queues["broken"] == QueueState("broken")
    assert reading.implausible == [
        f"broken: cannot be read: {ironmq.url}: HTTP 500 Internal Server Error"
    ]
    assert reading.received_at.keys() == {"orders"}
    failing["orders"] = ALWAYS
    reading = read(make(ironmq.url, token))
    assert (reading.queues, reading.implausible) == (None, ())
    assert reading.trouble.startswith(f"cannot read the queues: {ironmq.url}: HTTP 500")
    with pytest.raises(ServerError, match="HTTP 500"):
        read(make(ironmq.url, token), Wanted(server=False, names=["broken"]))


def test_a_queue_that_fails_for_a_time_gets_no_wrong_rate(
    ironmq: IronMq, token: str, failing: "Counter[str]"
) -> None:
    ironmq.create("orders")
    ironmq.create("old", *"abc")
    now = [1000.0]
    observer = Observer(make(ironmq.url, token), clock=lambda: now[0])

    def observe() -> list[float | None]:
        now[0] += 10
        queues = observer.observe().queues
        assert queues
        return [queues[name].put_rate for name in ("orders", "old")]

    failing["old"] = 1
    observe()
    ironmq.put("orders", *"abcde")
    assert observe() == [0.5, None]
    ironmq.put("old", *"abcde")
    failing["orders"] = 1
    assert observe() == [None, 0.5]
    assert observe() == [None, 0]  # the reading before had no number
    assert observe() == [0, 0]


def test_a_queue_that_fails_may_be_a_second_source(
    ironmq: IronMq, token: str, failing: "Counter[str]"
) -> None:
    ironmq.create("orders", "a", dead_letter={"queue_name": "dead", "max_reservations": 3})
    ironmq.create("dead", "x", "y")
    ironmq.create("mail", dead_letter={"queue_name": "dead", "max_reservations": 3})
    ironmq.create("plain")
    failing["mail"] = ALWAYS
    server = make(ironmq.url, token)
    for wanted in (ALL, Wanted(server=False, names=["orders", "dead", "plain"])):
        reading = read(server, wanted)
        assert reading.queues
        assert (reading.queues["orders"].ready, reading.queues["orders"].buried) == (1, None)
        assert reading.queues["dead"].is_dead_letter
        assert reading.queues["plain"].buried == 0
        assert reading.implausible[-1].startswith(
            f"orders: its failed messages cannot be counted: {ironmq.url}: HTTP 500"
        )
    with pytest.raises(ServerError, match="HTTP 500"):
        list(server.system.open_actions(server, 5.0).kick("orders", 1))
    assert ironmq.bodies("dead") == ["x", "y"]
    # It is asked again before failed messages are counted.
    del ironmq.queues["mail"]["dead_letter"]
    failing["mail"] = 1
    found = queues(server)
    assert (found["mail"], found["orders"].buried) == (QueueState("mail"), 2)


def test_the_checks_judge_the_other_queues(
    ironmq: IronMq, token: str, failing: "Counter[str]", tmp_path: Path, run: Any
) -> None:
    ironmq.create("orders", "a")
    ironmq.create("broken", "b")
    failing["broken"] = ALWAYS
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers.iron]\nurl = "{ironmq.url}"\npassword_file = "{token}"\n')
    named = ("--config", config)
    told = f"broken: cannot be read: {ironmq.url}: HTTP 500 Internal Server Error"

    code, out, _ = run("check_queue_depth", "-c", "0", *named)
    assert (code, "orders: 1 job ready" in out) == (2, True)
    assert "broken: the number of ready jobs is not known" in out
    assert told in out
    code, out, _ = run("check_queue_depth", "-Q", "orders", "-c", "9", *named)
    assert (code, "broken" in out) == (0, False)
    code, out, _ = run("check_queue_server", *named)
    assert (code, told in out) == (3, True)
    done = run("beanwatch", "collect", "--once", "--graphite", "-", *named)
    assert ".iron.orders.ready 1 " in done.stdout
    assert ".iron.broken." not in done.stdout
    assert told in done.stderr


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"[]",
        b'{"queue": {}}',
        b'{"queue": {"name": "orders", "size": 1}}',
        b'{"queue": {"name": "orders", "size": -1, "total_messages": 1}}',
        b'{"queue": {"name": "orders", "size": "many", "total_messages": 1}}',
        b'{"queue": {"name": "orders", "size": 1e300, "total_messages": 1}}',
        b'{"queue": {"name": "\xff", "size": 1, "total_messages": 1}}',
    ],
)
def test_a_reply_without_a_declared_number_is_not_ironmqs(
    ironmq: IronMq, token: str, reply: bytes
) -> None:
    ironmq.lies[f"{BASE}/orders"] = reply
    with pytest.raises(ProtocolError, match="this is not IronMQ, its answer to GET /queues/orders"):
        read(make(ironmq.url, token), Wanted(server=False, names=["orders"]))


def test_a_list_that_does_not_end_is_an_error(ironmq: IronMq, token: str) -> None:
    ironmq.lies[BASE] = b'{"queues": [{"name": "a"}]}'
    with pytest.raises(ProtocolError, match="its list of queues does not end"):
        read(make(ironmq.url, token))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["queue", "queues", "name", "size", "total_messages", "push", "type"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(reply=JSON.map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=50))
def test_no_reply_is_more_than_a_server_error(ironmq: IronMq, token: str, reply: bytes) -> None:
    ironmq.lies[BASE] = reply
    try:
        reading = read(make(ironmq.url, token))
    except ServerError as error:
        assert "\n" not in str(error)
    else:
        assert all((queue.ready or 0) >= 0 for queue in (reading.queues or {}).values())


@pytest.mark.parametrize(
    "url",
    [
        "ironmq://mq.example.org",
        "ironmq://me@mq.example.org/5f1e",
        "ironmq://mq.example.org/5f1e/more",
        "ironmq+http://mq.example.org/5f1e",
    ],
)
def test_a_url_without_a_project_or_a_port_is_refused(url: str) -> None:
    with pytest.raises(AddressError, match=r"expected ironmq://HOST\[:PORT\]/PROJECT"):
        resolve_servers({"iron": ServerConfig(url)})


# -- actions, and the entry points


def test_actions_on_the_messages(ironmq: IronMq, token: str) -> None:
    ironmq.create("orders", dead_letter={"queue_name": "dead", "max_reservations": 3})
    ironmq.create("dead", *(f"d{number}" for number in range(250)))
    ironmq.queues["dead"]["messages"][0]["reserved_count"] = 4
    server = make(ironmq.url, token)
    actions = server.system.open_actions(server, 5.0)
    job = actions.peek("orders", "buried")
    assert job
    assert (job.queue, job.state, job.body, job.attempts) == ("orders", "buried", b"d0", 4)
    assert actions.peek("orders", "ready") is None
    assert [job.body for job in actions.list_jobs("orders", "buried", 2)] == [b"d0", b"d1"]
    assert list(actions.kick("orders", 120)) == [100, 20]
    assert ironmq.bodies("orders") == [f"d{number}" for number in range(120)]
    assert ironmq.bodies("dead")[0] == "d120"
    assert sum(actions.empty("orders", "buried", 10)) == 10
    assert ironmq.bodies("dead")[0] == "d130"
    assert sum(actions.empty("orders", "ready", 1000)) == 120
    assert ironmq.bodies("orders") == []
    for state in ("delayed", "reserved"):
        with pytest.raises(UnsupportedError, match=f"does not show {state} messages"):
            actions.peek("orders", state)
    ironmq.create("mail", dead_letter={"queue_name": "dead", "max_reservations": 3})
    with pytest.raises(UnsupportedError, match="dead has messages of several queues"):
        list(actions.kick("orders", 1))
    ironmq.create("push", type="unicast", push={**PUSH, "error_queue": "errors"})
    with pytest.raises(UnsupportedError, match="errors is an error queue"):
        list(actions.kick("push", 1))
    ironmq.create("plain")
    with pytest.raises(UnsupportedError, match="plain has no dead-letter queue"):
        list(actions.kick("plain", 1))


def test_the_commands_and_checks_know_ironmq(
    ironmq: IronMq, token: str, tmp_path: Path, run: Any
) -> None:
    ironmq.create("orders", "first", dead_letter={"queue_name": "dead", "max_reservations": 3})
    ironmq.create("dead", "lost")
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers.iron]\nurl = "{ironmq.url}"\npassword_file = "{token}"\n')
    named = ("--config", config)

    done = run("beanwatch", "queues", "list", "--json", *named)
    assert done.code == 0, done.stderr
    rows = {row["queue"]: row for row in json.loads(done.stdout)}
    assert (rows["orders"]["ready"], rows["orders"]["buried"]) == (1, 1)
    assert rows["orders"]["reserved"] is None
    shown = run("beanwatch", "queues", "peek", "orders", *named).stdout
    assert "first" in shown
    assert "lost" in shown
    assert "reserved                 n/a" in run("beanwatch", "queues", "show", "*", *named).stdout

    code, out, _ = run("check_queue_depth", "-Q", "orders", "-c", "0", *named)
    assert (code, "1 job ready" in out) == (2, True)
    code, out, _ = run("check_queue_buried", "-Q", "orders", *named)
    assert (code, "1 job buried" in out) == (1, True)
    code, out, _ = run("check_queue_server", *named)
    assert code == 0, out
    code, out, _ = run("check_queue_consumers", "-Q", "orders", *named)
    assert (code, "the number of consumers is not known" in out) == (3, True)
    code, out, _ = run("check_queue_depth", "-Q", "none", "-c", "1", *named)
    assert (code, "no such queue" in out) == (3, True)
    # The age is not declared: unknown everywhere, and nowhere 0.
    code, out, _ = run("check_queue_age", "-Q", "orders", *named)
    assert code == 3
    assert "ironmq does not report the wait of the next job" in out
    done = run("beanwatch", "collect", "--once", "--graphite", "-", *named)
    assert done.code == 0, done.stderr
    assert ".iron.orders.ready 1 " in done.stdout
    assert ".iron.orders.head_ready_age" not in done.stdout
    assert ".iron.orders.consumers" not in done.stdout

    assert run("beanwatch", "queues", "kick", "orders", "--yes", *named).code == 0
    assert ironmq.bodies("orders") == ["first", "lost"]
    assert run("beanwatch", "queues", "delete", "orders", "--yes", *named).code == 0
    assert run("beanwatch", "queues", "empty", "orders", "--yes", *named).code == 0
    assert ironmq.bodies("orders") == []
