"""A server that hangs or answers nonsense, at whatever question, is named and no more than that."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.collectors.poll.derive import merge, server_values
from beanwatch.collectors.poll.observer import Observation, Observer
from beanwatch.queues.base import ServerError, Wanted
from tests.queues.rabbitmq.helpers import reader_of, server_of
from tests.real import HttpSink, Proxy
from tests.real.drip import Drip
from tests.real.rabbitmq import Vhost

NODE = {
    "name": "rabbit@a",
    "running": True,
    "uptime": 5000,
    "os_pid": "7",
    "mem_used": 100_000_000,
    "mem_limit": 50_000_000,
    "mem_alarm": False,
    "disk_free": 9_000_000,
    "disk_free_limit": 50_000_000,
    "disk_free_alarm": False,
    "partitions": [],
    "fd_used": 3,
}
QUEUE = {
    "name": "t",
    "state": "running",
    "arguments": {"x-dead-letter-exchange": "dlx"},
    "effective_policy_definition": {},
    "messages_ready": 4,
    "messages_unacknowledged": 1,
    "consumers": 1,
    "consumer_capacity": 0.5,
    "memory": 10,
    "message_bytes": 20,
    "head_message_timestamp": 1,
    "message_stats": {"publish": 52, "ack": 40, "redeliver": 1},
}
TRUTH: dict[str, Any] = {
    "overview": {"rabbitmq_version": "4.1.0", "object_totals": {"connections": 2}},
    "nodes": [NODE],
    "queues": [QUEUE, {**QUEUE, "name": "dead", "arguments": {}}],
    "exchanges": [{"name": "dlx", "type": "topic"}],
    "bindings": [
        {
            "source": "dlx",
            "destination": "dead",
            "destination_type": "queue",
            "routing_key": "#",
        }
    ],
}


class Liar:
    """A management API that gives `TRUTH`, or what is in `lies`, by the first part of the path."""

    def __init__(self) -> None:
        self.lies: dict[str, bytes] = {}
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.split("/")[2].partition("?")[0]
                body = liar.lies.get(name, json.dumps(TRUTH[name]).encode())
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"rabbitmq://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    with Liar() as one:
        yield one


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([10**400, -1, "\ud800", "t", "down", "running", "x" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def lies(draw: st.DrawFn) -> tuple[str, bytes]:
    """An answer to one of the questions: one value of the truth is another, or all is nonsense."""
    name = draw(st.sampled_from(sorted(TRUTH)))
    if draw(st.integers(0, 4)) == 0:
        return name, draw(st.binary(max_size=200) | VALUES.map(lambda v: json.dumps(v).encode()))
    answer = json.loads(json.dumps(TRUTH[name]))
    entry = draw(st.sampled_from(answer)) if isinstance(answer, list) else answer
    field = draw(st.sampled_from(sorted({*entry, "online", "members", "being_drained"})))
    entry[field] = draw(VALUES)
    return name, json.dumps(answer).encode()


def observe(liar: Liar, told: dict[str, bytes]) -> Observation:
    observer = Observer(server_of(liar.url))
    liar.lies = told
    seen = observer.observe()
    observer.close()
    return seen


@settings(max_examples=150, deadline=None)
@given(lie=lies())
def test_no_answer_is_more_than_trouble(liar: Liar, lie: tuple[str, bytes]) -> None:
    seen = observe(liar, dict([lie]))
    assert seen.trouble or seen.queues is not None
    assert "\n" not in seen.trouble
    for queue in (seen.queues or {}).values():
        for value in queue.values().values():
            assert 0 <= value < 2**66
    for text in seen.problems:
        assert len(str(text)) < 2000
    if seen.state is not None:
        assert server_values(seen.state, 0, None)
    honest = observe(liar, {})
    assert not honest.trouble
    assert honest.queues is not None
    assert honest.queues["t"].state.puts == 52
    assert honest.queues["t"].state.buried == 5


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("overview", b"{}", "this is not RabbitMQ's management API: no rabbitmq_version"),
        ("overview", b"<html>", "its answer is not JSON"),
        ("nodes", b"{}", "/nodes is not a list of objects"),
        ("queues", b"[1]", "/queues// is not a list of objects"),
    ],
)
def test_a_server_that_is_no_rabbitmq_is_named(
    liar: Liar, name: str, answer: bytes, reason: str
) -> None:
    seen = observe(liar, {name: answer})
    assert reason in seen.trouble
    assert liar.url in seen.trouble


def test_a_count_that_cannot_be_right_is_left_out_and_named(liar: Liar) -> None:
    liar.lies = {"queues": json.dumps([{**QUEUE, "messages_ready": -1}]).encode()}
    reading = reader_of(liar.url).read(Wanted())
    assert reading.queues is not None
    assert reading.queues["t"].ready is None
    assert list(reading.implausible) == ["t: messages_ready is -1, which is not a count"]


@pytest.mark.parametrize(
    ("change", "severity", "text"),
    [
        ({"mem_alarm": True}, "critical", "memory alarm on node rabbit@a (100 of 50 MB used)"),
        ({"disk_free_alarm": True}, "critical", "disk alarm on node rabbit@a (9 MB free, limit"),
        ({"partitions": ["rabbit@b"]}, "critical", "node rabbit@a lost contact to rabbit@b"),
        ({"being_drained": True}, "warning", "maintenance mode"),
    ],
)
def test_the_faults_of_nodes(liar: Liar, change: Any, severity: str, text: str) -> None:
    liar.lies = {"nodes": json.dumps([{**NODE, **change}]).encode()}
    reader = reader_of(liar.url)
    (problem,) = reader.problems(reader.read(Wanted(problems=True)))
    assert problem.severity == severity
    assert text in problem.text


def test_a_node_that_does_not_run_and_queues_that_are_down(liar: Liar) -> None:
    liar.lies = {
        "nodes": json.dumps(
            [NODE, *({"name": f"rabbit@{one}", "running": False} for one in "bc")]
        ).encode(),
        "queues": json.dumps(
            [
                {"name": "gone", "state": "down"},
                {"name": "lost", "state": "down"},
                {"name": "weak", "state": "running", "members": ["a", "b", "c"], "online": ["a"]},
            ]
        ).encode(),
    }
    reader = reader_of(liar.url)
    reading = reader.read(Wanted(problems=True))
    found = list(reader.problems(reading))
    assert [(one.severity, one.text) for one in found] == [
        ("critical", "misses node rabbit@b: it does not run"),
        ("critical", "misses node rabbit@c: it does not run"),
        ("critical", "cannot use 2 queues (gone, lost): down"),
        ("warning", "lacks replicas of queue weak: only 1 of 3 members online"),
    ]
    causes = [cause for one in found for cause in one.causes]
    assert causes == ["misses rabbit@b", "misses rabbit@c", "down gone", "down lost", "lacks weak"]
    assert reading.queues is not None
    assert reading.queues["gone"].ready is None
    assert reading.server is not None
    assert reading.server.ready is None  # a sum without one of its parts would be too low


def test_the_wait_of_a_failed_job_is_in_no_series(liar: Liar) -> None:
    queues = observe(liar, {}).queues or {}
    assert queues["dead"].state.is_dead_letter
    assert queues["dead"].state.head_ready_age is not None, "commands and pages show it"
    assert (
        merge([queues["dead"], queues["t"]])["head_ready_age"]
        == queues["t"].values()["head_ready_age"]
    )
    assert "head_ready_age" in queues["t"].values()
    assert "head_ready_age" not in queues["dead"].values(), "it waits for a person, not a worker"


def test_without_statistics_of_messages_the_counters_are_not_known(liar: Liar) -> None:
    overview = {**TRUTH["overview"], "rates_mode": "none"}
    rows = [{field: value for field, value in QUEUE.items() if field != "message_stats"}]
    for told, puts in ((TRUTH["overview"], 0), (overview, None)):
        liar.lies = {
            "overview": json.dumps(told).encode(),
            "queues": json.dumps(rows).encode(),
        }
        reader = reader_of(liar.url)
        for _ in range(2):
            queue = (reader.read(Wanted()).queues or {})["t"]
            assert (queue.puts, queue.deletes, queue.redeliveries) == (puts, puts, puts)
    queue = (reader.read(Wanted(server=False)).queues or {})["t"]
    assert queue.puts is None, "as the last overview says"
    queue = (reader_of(liar.url).read(Wanted(server=False)).queues or {})["t"]
    assert queue.puts is None, "no overview was read"


def test_a_node_that_leaves_and_comes_back_was_not_restarted(liar: Liar) -> None:
    a, b = NODE, {**NODE, "name": "rabbit@b", "uptime": 7_000_000}
    away, anew = {"name": "rabbit@b", "running": False}, {**b, "uptime": 3000, "os_pid": "8"}
    observer = Observer(server_of(liar.url))
    told = []
    for nodes in ([a, b], [a, away], [a, away], [a, b], [a, anew], [a, anew]):
        liar.lies = {"nodes": json.dumps(nodes).encode()}
        assert observer.observe().state is not None
        told.append(observer.samples.restarts)
    observer.close()
    assert told == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("has_deadline", [True, False])
def test_a_server_that_drips_bytes_ends_in_time(has_deadline: bool) -> None:
    with Drip(b"HTTP/1.1 200 OK\r\n\r\n") as drip:
        reader = reader_of(f"rabbitmq://{drip.address}", timeout=0.5 if not has_deadline else 60)
        started = time.monotonic()
        with pytest.raises(ServerError, match=r"no answer within 0\.5 s"):
            reader.read(Wanted(), 0.5 if has_deadline else None)
        assert time.monotonic() - started < 5


def test_a_server_that_hangs_after_its_first_answer_has_no_queues(vhost: Vhost) -> None:
    vhost.declare("jobs")
    with Proxy(f"127.0.0.1:{vhost.server.port}") as proxy:
        url = f"rabbitmq://{proxy.address}/{vhost.name}"
        assert set(reader_of(url).read(Wanted()).queues or ()) == {"jobs"}
        proxy.blackhole()
        with pytest.raises(ServerError, match="no answer within"):
            reader_of(url).read(Wanted(), 0.5)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_error_of_the_server_is_one_line_with_its_status(status: int) -> None:
    with HttpSink(status) as sink:
        url = sink.url.replace("http", "rabbitmq")
        with pytest.raises(ServerError, match=f"HTTP {status}") as raised:
            reader_of(url).read(Wanted())
        assert "\n" not in str(raised.value)
        assert url in str(raised.value)
