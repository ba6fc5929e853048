"""Tables on a narrow terminal."""

import io

import pytest
from rich.console import Console

from beanwatch.cli.lib.queue_view import queue_table, server_table
from beanwatch.cli.lib.worker_view import worker_table
from beanwatch.fleet.overview import QueueRow, ServerRow
from beanwatch.store.heartbeats import Heartbeat, Worker

QUEUES = [
    QueueRow("queue1", "a.tube.with.a.long.name", 123_456, *(0,) * 5, *rest)
    for rest in (("ok", 1.5, 2.5, 3.0, 4.0, 0, 0), ("no_watcher", None, None, None, None, 7, 0))
]
SERVERS = [
    ServerRow("queue1", "queue1:11300", "1.12", True, 99_999, 12_345, 54_321, 17, False, 3, ""),
    ServerRow("queue2", "queue2:11300", "", False, *(0,) * 4, False, 0, "connection refused"),
]
WORKERS = [
    Worker("web1.email-1", 1.0, Heartbeat(job="email.send", queue="email", processed=98_765)),
    Worker("web1.email-2", 9.0, None),
]


def printed(table: object, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("width", range(40, 161, 5))
@pytest.mark.parametrize("several", [False, True])
def test_a_queue_has_its_name_its_depth_and_its_state_whole_at_any_width(width: int, several: bool):
    heading, *rows = printed(queue_table(QUEUES, several=several), width)
    assert "READY" in heading
    assert len(rows) == 2
    for row in rows:
        assert len(row) <= width
        assert "a.tube.with" in row
        assert "123,456" in row.split()
    assert "no watcher" in rows[1]


@pytest.mark.parametrize("width", range(40, 161, 5))
def test_a_server_has_its_state_and_why_at_any_width(width: int):
    lines = printed(server_table(SERVERS), width)
    assert all(len(line) <= width for line in lines)
    assert "queue2" in lines[2]
    assert "down" in lines[2]
    words = " ".join(word for line in lines[2:] for word in line.split())
    assert "connection" in words
    assert "refused" in words
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", range(40, 161, 5))
def test_a_worker_has_its_name_and_state_at_any_width(width: int):
    heading, one, two = printed(worker_table(WORKERS), width)
    assert heading.startswith("WORKER")
    assert one.split()[:2] == ["web1.email-1", "starting"]
    assert two.split()[:2] == ["web1.email-2", "dead"]


def test_versions_are_shown_where_they_differ():
    def beats(*versions: str) -> list[Worker]:
        return [Worker(f"w{n}", 1.0, Heartbeat(app_version=v)) for n, v in enumerate(versions)]

    assert "VERSION" not in printed(worker_table(beats("1.0", "1.0", "")), 160)[0]
    heading, one, two = printed(worker_table(beats("1.0", "2.0")), 160)
    assert "VERSION" in heading
    assert (one.split()[-1], two.split()[-1]) == ("1.0", "2.0")


def test_where_there_is_room_everything_is_shown():
    heading, *_ = printed(queue_table(QUEUES, several=True), 160)
    assert len(heading.split()) == 13
