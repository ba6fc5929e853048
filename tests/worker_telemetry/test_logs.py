"""Log lines: Monolog's shape, valid JSON whatever is logged, no fault that reaches the worker."""

import calendar
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from beanwatch import outcomes
from beanwatch.telemetry.logging import setup as logs
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.telemetry.logging.render import LEVELS, fill, json_processors
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.log_sink import LogSink
from tests.real import ROOT, wait_until


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "worker.log"
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], force=True)


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_run_is_one_line_with_monologs_fields_and_the_context_of_the_contract(
    file: Path, make_run: Callable[..., Run]
):
    output = logs.configure("json", str(file))
    log = logs.get_logger(worker="web1.w1", instance="ab12")
    LogSink(log, output).on_finished(make_run(uuid="u-1", wait=0.25, duration=0.5))
    (line,) = lines_of(file)
    moment = time.strptime(line["datetime"].partition(".")[0], "%Y-%m-%dT%H:%M:%S")
    assert abs(time.time() - calendar.timegm(moment)) < 60
    assert line["datetime"].endswith("+00:00")
    line["datetime"] = ""
    assert line == {
        "datetime": "",
        "level": 200,
        "level_name": "INFO",
        "channel": "beanwatch",
        "message": "email.send ok",
        "context": {
            "worker": "web1.w1",
            "instance": "ab12",
            "queue": "email.regular",
            "job_id": 1,
            "id": "u-1",
            "job": "email.send",
            "attempt": 1,
            "wait_ms": 250.0,
            "duration_ms": 500.0,
            "outcome": "ok",
        },
        "extra": {"process_id": os.getpid()},
    }


@given(
    st.text(),
    st.text() | st.sampled_from(["{job_id}", "{wait_ms} {outcome}", "{job}"]),
    st.text(),
    st.integers(0, 2**64),
    st.floats(0, 1e6),
    st.one_of(st.floats(0, 4e9), st.integers(0, 4 * 10**15).map(lambda us: us / 1e6)),
)
def test_the_line_of_a_run_that_went_well_is_the_one_that_any_event_would_make(
    queue: str, job: str, uuid: str, number: int, seconds: float, now: float
):
    output = RecordingOutput()
    log = structlog.wrap_logger(output, processors=json_processors(lambda: now), channel="x")
    sink = LogSink(log.bind(worker=f"%d.{job}", instance=queue), output, clock=lambda: now)
    run = Run("s", queue, job, number, number, "ok", uuid, wait=seconds, duration=seconds / 3)
    sink.on_finished(run)
    sink.on_finished(replace(run, parent="p"))
    first, second = (json.loads(line) for line in output.lines)
    assert second["context"].pop("parent") == "p"
    for field in ("wait_ms", "duration_ms"):  # halves are rounded either way
        assert abs(first["context"].pop(field) - second["context"].pop(field)) < 0.11
    assert list(first) == list(second)
    assert first == second
    assert datetime.fromisoformat(first["datetime"]).timestamp() == pytest.approx(now, abs=2e-6)


class RecordingOutput(LogOutput):
    """Keeps the lines."""

    is_json = True

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        """Keep it."""
        self.lines.append(line)

    info = write


def test_every_outcome_has_a_level_and_failures_tell_their_reason(
    file: Path, make_run: Callable[..., Run]
):
    sink = LogSink(logs.get_logger(), logs.configure("json", str(file)))
    for outcome in outcomes.NAMES:
        sink.on_finished(
            make_run(outcome=outcome, reason="SMTP said {no}", traceback="Trace\n back")
        )
    found = lines_of(file)
    assert [line["context"]["outcome"] for line in found] == list(outcomes.NAMES)
    assert found[2]["level_name"] == "ERROR"
    assert found[2]["message"] == "email.send buried: SMTP said {no}"
    assert found[2]["context"]["traceback"] == "Trace\n back"


def test_levels_are_those_of_psr_3(file: Path):
    logs.configure("json", str(file), level="debug")
    log = logs.get_logger("mail")
    for level in LEVELS:
        getattr(log, level)("x")
    found = [(line["level"], line["level_name"], line["channel"]) for line in lines_of(file)]
    assert found == [
        (100, "DEBUG", "mail"),
        (200, "INFO", "mail"),
        (300, "WARNING", "mail"),
        (400, "ERROR", "mail"),
        (500, "CRITICAL", "mail"),
    ]


@pytest.mark.parametrize(
    ("message", "context", "expected"),
    [
        ("sent to {user}", {"user": "ann"}, "sent to ann"),
        ("{n} of {total}", {"n": 1, "total": 2.5}, "1 of 2.5"),
        ("{missing} stays", {}, "{missing} stays"),
        ("{a}", {"a": "{b}", "b": "x"}, "{b}"),
        ('{"json": 1}', {}, '{"json": 1}'),
        ("{list}", {"list": [1]}, "[1]"),
        (42, {}, "42"),
    ],
)
def test_placeholders_are_filled_from_the_context(
    message: Any, context: dict[str, Any], expected: str
):
    assert fill(message, context) == expected


def test_an_exception_is_told_as_monolog_tells_it(file: Path):
    logs.configure("json", str(file))
    try:
        json.loads("{")
    except ValueError:
        logs.get_logger().exception("it failed")
    (line,) = lines_of(file)
    exception = line["context"]["exception"]
    assert exception["class"] == "json.decoder.JSONDecodeError"
    assert "double quotes" in exception["message"]
    assert exception["file"] == exception["trace"][0].rpartition(" ")[0]
    assert "test_logs.py" in exception["trace"][-1]


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.just("\ud800")
    | st.builds(Broken)
    | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(message=_anything, value=_anything)
@pytest.mark.parametrize("format_", ["json", "console"])
def test_whatever_is_logged_becomes_whole_lines(
    format_: str, tmp_path: Path, message: Any, value: Any
):
    file = tmp_path / "any.log"
    file.unlink(missing_ok=True)
    output = logs.configure(format_, str(file))
    logs.get_logger().error(message, value=value, cycle=(cycle := {}), more={1: cycle})
    cycle["self"] = cycle
    logs.get_logger().error("{value}", value=value, cycle=cycle)
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], force=True)
    assert output.dropped == 0
    text = file.read_bytes()
    assert text.endswith(b"\n")
    if format_ == "json":
        assert len([json.loads(line) for line in text.splitlines()]) == 2


def test_the_logging_module_goes_the_same_way(file: Path):
    logs.configure("json", str(file))
    logging.getLogger("some.library").warning("%s is slow", "it")
    logging.getLogger("some.library").log(35, "between the levels")
    logging.getLogger("some.library").warning("%d", "no number")
    first, second, third = lines_of(file)
    assert (first["channel"], first["level"], first["message"]) == (
        "some.library",
        300,
        "it is slow",
    )
    assert second["level_name"] == "WARNING"
    assert "%d" in third["message"]


def test_the_console_format_is_for_people(file: Path):
    logs.configure("console", str(file))
    logs.get_logger().info("sent to {user}", user="ann")
    assert "sent to ann" in file.read_text()


def test_a_renamed_file_is_left_when_told_to_reopen(file: Path):
    logs.configure("json", str(file))
    log = logs.get_logger()
    log.info("one")
    moved = file.rename(file.with_suffix(".1"))
    log.info("two")
    logs.reopen()
    log.info("three")
    assert [line["message"] for line in lines_of(moved)] == ["one", "two"]
    assert [line["message"] for line in lines_of(file)] == ["three"]


def test_a_file_that_cannot_be_reopened_keeps_the_old_one(
    file: Path, capfd: pytest.CaptureFixture[str]
):
    logs.configure("json", str(file))
    moved = file.rename(file.with_suffix(".1"))
    file.mkdir()
    logs.reopen()
    logs.get_logger().info("still here")
    assert [line["message"] for line in lines_of(moved)] == ["still here"]
    assert "Is a directory" in capfd.readouterr().err


def test_a_signal_handler_that_logs_in_mid_write_neither_deadlocks_nor_tears_a_line():
    script = (
        "import os, signal, sys, time\n"
        "from beanwatch.telemetry.logging import setup as logs\n"
        "output = logs.configure('json')\n"
        "log = logs.get_logger()\n"
        "signal.signal(signal.SIGHUP, lambda *_: (logs.reopen(), log.info('reopened')))\n"
        "signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGHUP))\n"
        "end = time.monotonic() + 0.5\n"
        "while time.monotonic() < end:\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.0005)\n"  # one at a time: they must not pile up
        "    for _ in range(20): log.info('x' * 6000)\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "log.info('dropped', n=output.dropped)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, timeout=120)
    out = done.stdout
    assert done.returncode == 0
    found = [json.loads(line) for line in out.splitlines()]
    assert any(line["message"] == "reopened" for line in found)


def test_a_timeout_that_is_raised_in_mid_write_spoils_one_line_only():
    script = (
        "import signal\n"
        "from beanwatch.telemetry.logging import setup as logs\n"
        "logs.configure('json')\n"
        "log = logs.get_logger()\n"
        "class Timeout(BaseException): pass\n"
        "def interrupt(*_): raise Timeout\n"
        "signal.signal(signal.SIGALRM, interrupt)\n"
        "interrupted = 0\n"
        "while interrupted < 50:\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0.001)\n"
        "        while True: log.info('x' * 9000)\n"
        "    except Timeout: interrupted += 1\n"
        "log.info('last')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, timeout=120)
    out = done.stdout
    assert done.returncode == 0
    spoiled = 0
    for line in out.splitlines():
        try:
            json.loads(line)
        except ValueError:
            spoiled += 1
            # Empty: it was interrupted when it had just been written, and nobody could know.
            assert not line or line.startswith(b'{"datetime"')
            assert line.count(b'"datetime"') <= 1
    assert spoiled <= 50
    assert json.loads(out.splitlines()[-1])["message"] == "last"


def test_a_full_disk_costs_lines_that_are_counted_and_nothing_else(
    capfd: pytest.CaptureFixture[str],
):
    output = LogOutput("/dev/full", [lambda *_: b"some lost\n"])
    output.write(b"one\n")
    output.write(b"two\n")
    assert output.dropped == 2
    errors = capfd.readouterr().err
    assert errors.count("No space left on device") == 1


def test_what_was_lost_is_said_when_there_is_room_again(tmp_path: Path):
    script = (
        "import resource, signal, sys\n"
        "from beanwatch.telemetry.logging import setup as logs\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "logs.configure('json', sys.argv[1])\n"
        "log = logs.get_logger()\n"
        "log.info('one')\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))\n"
        "for _ in range(5): log.info('no room for this one')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "log.info('last')\n"
    )
    file = tmp_path / "full.log"
    done = subprocess.run(
        [sys.executable, "-c", script, file], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stderr
    # The line that the disk had room for in part stands alone; all after it are whole.
    whole = []
    for line in file.read_text().splitlines():
        try:
            whole.append(json.loads(line)["message"])
        except ValueError:
            assert len(line) < 300
    assert whole[0] == "one"
    assert whole[-1] == "last"
    assert whole[-2].endswith("log lines were lost")


def test_a_disk_that_hangs_in_one_thread_does_not_stop_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The main thread may log on a network file system whose server is away."""
    responds, write, calls = threading.Event(), os.write, []

    def hang(descriptor: int, data: bytes) -> int:
        calls.append(data)
        responds.wait(20)
        return write(descriptor, data)

    output = LogOutput(str(tmp_path / "log"), [lambda *_: b"some lost\n"])
    monkeypatch.setattr("beanwatch.telemetry.logging.output.MAX_WAIT", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", hang)
        hung, other = (
            threading.Thread(target=output.write, args=(line,)) for line in (b"one\n", b"two\n")
        )
        hung.start()
        wait_until(lambda: calls)
        other.start()
        other.join(10)
        assert not other.is_alive()
        assert output.dropped == 1
        responds.set()
        hung.join()
    output.write(b"three\n")
    assert (tmp_path / "log").read_text() == "one\nsome lost\nthree\n"


def test_a_reader_that_stands_still_does_not_stop_the_worker(tmp_path: Path):
    script = (
        "import sys, time\n"
        "from beanwatch.telemetry.logging import setup as logs\n"
        "output = logs.configure('json')\n"
        "log = logs.get_logger()\n"
        "for _ in range(200): log.info('x' * 10_000)\n"
        "print(output.dropped, file=sys.stderr)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.wait(30) == 0  # nobody has read its standard output
        assert process.stderr
        assert int(process.stderr.read().splitlines()[-1]) > 0
    finally:
        process.kill()
        process.communicate()


def test_a_child_that_is_forked_while_another_thread_logs_can_log(tmp_path: Path):
    file = tmp_path / "fork.log"
    script = (
        "import os, sys, threading\n"
        "from beanwatch.telemetry.logging import setup as logs\n"
        "logs.configure('json', sys.argv[1])\n"
        "log = logs.get_logger()\n"
        "run = True\n"
        "def chatter():\n"
        "    while run: log.info('chatter')\n"
        "thread = threading.Thread(target=chatter); thread.start()\n"
        "for _ in range(50):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        log.info('child'); os._exit(0)\n"
        "    assert os.waitpid(pid, 0)[1] == 0\n"
        "run = False; thread.join()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, file], cwd=ROOT)
    try:
        wait_until(lambda: process.poll() is not None, 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == 0
    assert [line["message"] for line in lines_of(file)].count("child") == 50


PRINTING_JOB = """
import os, subprocess, sys
from beanwatch.telemetry.logging import setup as logs
output = logs.configure('json', *sys.argv[1:])
output.keep_from_jobs()
log = logs.get_logger()
log.info('first')
log.info('second')
print('half a line', end='', flush=True)
log.info('third')
subprocess.run(['sh', '-c', 'printf out; printf err >&2'])
log.info('fourth')
os.write(2, b'more')
logs.reopen()
log.info('fifth')
"""


@pytest.mark.parametrize("where", ["two pipes", "one pipe", "one file", "the log's own file"])
def test_what_jobs_print_without_a_line_end_spoils_no_line(where: str, file: Path):
    argv = [sys.executable, "-c", PRINTING_JOB]
    if where == "two pipes":
        done = subprocess.run(argv, capture_output=True, timeout=60)
        text, printed = done.stdout, done.stderr
        assert printed == b"half a lineouterrmore"
    elif where == "one pipe":
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        text = done.stdout
    else:
        own = [str(file)] if where == "the log's own file" else []
        with file.open("ab") as stream:
            done = subprocess.run([*argv, *own], stdout=stream, stderr=stream, timeout=60)
        text = file.read_bytes()
        assert b"\n\n" not in text
    assert done.returncode == 0
    lines = [json.loads(line) for line in text.splitlines() if line.startswith(b"{")]
    assert [line["message"] for line in lines] == ["first", "second", "third", "fourth", "fifth"]
    other = [line for line in text.splitlines() if line and not line.startswith(b"{")]
    assert other == ([] if where == "two pipes" else [b"half a line", b"outerr", b"more"])


def test_a_log_whose_standard_error_is_closed_goes_on(file: Path):
    script = f'exec {sys.executable} -c "$0" 2>&-'
    done = subprocess.run(["sh", "-c", script, PRINTING_JOB], stdout=subprocess.PIPE, timeout=60)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    assert [line["message"] for line in lines][:4] == ["first", "second", "third", "fourth"]
