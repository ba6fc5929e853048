"""Rows of servers and queues: what is known, what is wrong, and what is not known."""

import json

import pytest

from beanwatch.collectors.poll.derive import ObservedQueue
from beanwatch.collectors.poll.observer import Observation
from beanwatch.fleet.overview import QueueRow, ServerRow, count_jobs, queue_row, server_row
from beanwatch.queues.base import Problem
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.servers import resolve_servers

(SERVER,) = resolve_servers({"q1": "queue1:11300"})


def test_what_a_server_does_not_tell_is_null_and_never_0() -> None:
    seen = Observation(ServerState(), {"a": ObservedQueue(QueueState("a"))})
    row = server_row(SERVER, seen)
    assert (row.up, row.queues, row.wrong) == (True, 1, "")
    for field in ("version", "uptime", "connections", "jobs", "draining"):
        assert getattr(row, field) is None
    tree = json.loads(json.dumps(queue_row("q1", ObservedQueue(QueueState("a"))).tree()))
    known = {key for key, value in tree.items() if value is not None}
    assert known == {"server", "queue", "wrong"}


@pytest.mark.parametrize(
    ("server", "queues", "jobs"),
    [
        (ServerState(ready=2, reserved=3, delayed=0, buried=1), [QueueState("a", ready=9)], 6),
        (ServerState(), [QueueState("a", 9, 1, 0, 0), QueueState("b", 2, 0, 0, 1)], 13),
        (ServerState(), [QueueState("a", 0, 0, 0, 0)], 0),
        (ServerState(), [QueueState("a")], None),
        (ServerState(), [], None),
        # One unknown state makes the sum unknown: without it, the sum would be too low.
        (ServerState(ready=2, reserved=3, buried=1), [QueueState("a", 9, 0, 0, 0)], None),
        (ServerState(), [QueueState("a", 9, 0, 0, 0), QueueState("b", 2, 0, None, 1)], None),
    ],
)
def test_jobs_are_added_up_by_the_server_else_over_its_queues_if_every_count_is_known(
    server: ServerState, queues: list[QueueState], jobs: int | None
) -> None:
    seen = Observation(server, {queue.name: ObservedQueue(queue) for queue in queues})
    assert count_jobs(seen) == jobs


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        (QueueRow("q1", "a"), ""),
        (QueueRow("q1", "a", state="ok", buried=0, missing_jobs=0), ""),
        (QueueRow("q1", "a", state="ok", buried=1), "warning"),
        (QueueRow("q1", "a", state="saturated"), "warning"),
        (QueueRow("q1", "a", state="no_consumer"), "critical"),
        (QueueRow("q1", "a", state="ok", missing_jobs=1), "critical"),
        (ServerRow("q1", "a", "s", True), ""),
        (ServerRow("q1", "a", "s", False), "critical"),
        (ServerRow("q1", "a", "s", True, draining=True), "warning"),
        (ServerRow("q1", "a", "s", True, trouble="queues: cut off"), "warning"),
        (ServerRow("q1", "a", "s", True, problems=[Problem("warning", "x")]), "warning"),
        (ServerRow("q1", "a", "s", True, problems=[Problem("critical", "x")]), "critical"),
    ],
)
def test_what_somebody_should_look_at_is_said(row: QueueRow | ServerRow, wrong: str) -> None:
    assert row.wrong == wrong
    assert row.tree()["wrong"] == wrong
