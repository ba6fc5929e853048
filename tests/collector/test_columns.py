"""Tables on a narrow terminal."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from beanwatch.cli.lib.queue_view import queue_table, server_table, state_words
from beanwatch.cli.lib.tables import STYLES, fit_cell
from beanwatch.cli.lib.worker_view import worker_style, worker_table
from beanwatch.fleet.overview import QueueRow, ServerRow
from beanwatch.quoting import terminal_text
from beanwatch.store.heartbeats import Worker
from tests.records import make_beat, make_job

LONG_NAME = "a.queue.with.a.long.name"
QUEUES = [
    QueueRow("queue1", LONG_NAME, 123_456, *(0,) * 5, "ok", 1.5, 2.5, 3.0, 4.0, 0, 0),
    QueueRow("queue1", LONG_NAME, 123_456, *(0,) * 5, "no_consumer", missing_jobs=7),
]
SERVERS = [
    ServerRow("queue1", "queue1:11300", "beanstalkd", True, "1.12", 99_999, 17, 12_345, 54_321),
    ServerRow("queue2", "queue2:11300", "beanstalkd", False, trouble="connection refused"),
]
SEND = make_job(name="email.send", queue="email")
WORKERS = [
    Worker("web1.email-1", 1.0, make_beat(jobs=(SEND,), processed=98_765, failed=0)),
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
        assert "a.queue.wit" in row
        assert "123,456" in row.split()
    assert "no consumer" in rows[1]


@pytest.mark.parametrize("width", range(40, 161, 5))
def test_a_queue_with_buried_jobs_is_not_ok_at_any_width(width: int):
    row = QueueRow("q", "mail", 1, 0, 0, 3, 2, 1, "ok")
    buried, missing = (row, row._replace(missing_jobs=2, state="no_consumer"))
    _, one, two = printed(queue_table([buried, missing], several=False), width)
    assert one.endswith(" 3 buried")
    assert "no consumer" in two
    assert state_words(missing) == "no consumer, 2 missing, 3 buried"
    assert state_words(row._replace(buried=0)) == "ok"


def test_empty_columns_give_way_before_a_name_is_cut():
    rows = [QueueRow("q", LONG_NAME, 123_456, 0, 0, 7, 5, 0, "ok", 0.0, 2.5, 3.0)]
    heading, row = printed(queue_table(rows, several=False), 80)
    assert LONG_NAME in row
    assert heading.split() == ["QUEUE", "READY", "BURIED", "CONSUMERS", "DEL/S", "AGE", "STATE"]
    heading, row = printed(worker_table(WORKERS[:1]), 60)
    assert "web1.email-1" in row
    assert "FAILED" not in heading


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


@pytest.mark.parametrize(
    ("worker", "words", "style"),
    [
        (Worker("w", 60.0, make_beat(state="busy", last_words="php ended with exit code 255")),
         "dead 60.0s php ended with exit code 255", "critical"),
        (Worker("w", 60.0, make_beat(state="idle")),
         "dead 60.0s no heartbeat for 1m 0s, last seen idle", "critical"),
        (Worker("w", 60.0, make_beat(reason="told to restart", is_over=True)),
         "dead 60.0s ended 1m 0s ago (told to restart), and was not started again", "critical"),
        (Worker("w", 60.0, None),
         "dead 60.0s no heartbeat for 1m 0s, and its record in Redis is gone", "critical"),
        (Worker("w", 1.0, None, "v is missing"),
         "unknown 1.0s cannot read its record: v is missing", "warning"),
        (Worker("w", 60.0, make_beat(state="idle"), doubt="Redis takes no writes"),
         "unknown 60.0s Redis takes no writes", "warning"),
        (Worker("w", 1.0, make_beat(state="idle", restart_refused="no module shop")),
         "idle 1.0s did not restart as told, runs on: no module shop", "warning"),
        (Worker("w", 1.0, make_beat(state="idle", recycled_at=(0,) * 6, recycled_why="max_jobs")),
         "idle 1.0s recycled 6 times in 10 minutes (limit 5), the last time because max_jobs",
         "warning"),
        (Worker("w", 1.0, make_beat(state="blocked", reason="disk full")),
         "blocked 1.0s disk full", "warning"),
        (Worker("w", 1.0, make_beat(state="waiting", reason="told to wait")),
         "waiting 1.0s told to wait", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_worker_is_said_as_by_the_check(
    worker: Worker, words: str, style: str
):
    _, row = printed(worker_table([worker]), 160)
    assert [one for one in row.split() if one not in (".", "n/a")] == ["w", *words.split()]
    assert worker_style(worker) == STYLES[style]


def test_versions_are_shown_where_they_differ():
    def beats(*versions: str) -> list[Worker]:
        return [Worker(f"w{n}", 1.0, make_beat(app_version=v)) for n, v in enumerate(versions)]

    assert "VERSION" not in printed(worker_table(beats("1.0", "1.0", "")), 160)[0]
    heading, one, two = printed(worker_table(beats("1.0", "2.0")), 160)
    assert "VERSION" in heading
    assert (one.split()[-1], two.split()[-1]) == ("1.0", "2.0")


def test_where_there_is_room_everything_is_shown():
    heading, *_ = printed(queue_table(QUEUES, several=True), 160)
    assert len(heading.split()) == 13


def test_what_is_not_known_is_shown_as_such_and_0_is_not():
    rows = [QueueRow("q", "some", ready=0, reserved=1), QueueRow("q", "none")]
    heading, some, none = printed(queue_table(rows, several=False), 160)
    assert heading.split() == [
        *("QUEUE", "READY", "RESRVD", "DELAYED", "BURIED", "CONSUMERS", "IDLE", "AGE", "STATE")
    ]
    assert some.split() == ["some", ".", "1", *("n/a",) * 5]  # no job is ready: of no age
    assert none.split() == ["none", *("n/a",) * 8]
    heading, up, down = printed(
        server_table(
            [ServerRow("q1", "q1:7", "fake", True), ServerRow("q2", "q2:7", "other", False)]
        ),
        160,
    )
    assert heading.split() == ["SERVER", "SYSTEM", "VERSION", "UP", "JOBS", "QUEUES", "CONN"]
    assert up.split() == ["q1", "fake", *("n/a",) * 5]
    assert down.split() == ["q2", "other", "down"]


def test_no_name_or_note_can_control_the_terminal():
    nasty = "\x1b[31m[red]"
    job = make_job(name=nasty, queue=nasty, note=nasty)
    beat = make_beat(jobs=(job,), app_version=nasty)
    tables = (
        queue_table([QueueRow("q", nasty)], several=False),
        server_table([ServerRow("q", "a", "s", False, trouble=nasty)]),
        worker_table([Worker(nasty, 1.0, beat)]),
    )
    for table in tables:
        text = "".join(printed(table, 160))
        assert r"\x1b[31m[red]" in text
        assert text.isprintable()


@given(st.text().map(terminal_text), st.integers(1, 40), st.booleans())
def test_a_cell_has_the_width_of_its_column(text: str, width: int, to_right: bool):
    cell = fit_cell(text, width, to_right=to_right)
    assert cell_len(cell) == width
    assert text in cell or cell.endswith("…")


def calls_to_print(rows: int) -> int:
    """How many functions of Python are called to print a table of so many queues."""
    table = queue_table(QUEUES[:1] * rows, several=True)
    console = Console(file=io.StringIO(), width=160)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        console.print(table)
    finally:
        sys.setprofile(None)
    return calls


def test_a_row_costs_a_few_calls_so_that_thousands_are_printed_at_once():
    """With rich's own table it was 7 s of CPU for 5,000 queues."""
    assert (calls_to_print(300) - calls_to_print(100)) / 200 < 100
