"""What a worker reports of itself, and what it does about what it finds."""

import errno
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beanwatch.net.redis_url import RedisError
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import Heartbeat, Worker
from beanwatch.worker.core.connection_protocol import JobStats, Reserved
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.state import DUPLICATE, HARD_DEADLINE, RECYCLED, STOPPED, WorkerState
from beanwatch.worker.guard.temporary import Room, TemporaryRoot
from beanwatch.worker.monitor import facts
from beanwatch.worker.monitor.heartbeat.heartbeat_record import HeartbeatRecord
from beanwatch.worker.monitor.heartbeat.heartbeat_reporter import HeartbeatReporter, VersionWatch
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import PreviousHeartbeat
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.gauges import ProcessGauges
from beanwatch.worker.monitor.sinks.run_counter import RunCounter
from beanwatch.worker.telemetry.host_watch import HostLimits, HostWatch, show_sizes, stop_once
from beanwatch.worker.telemetry.reporter import Reporter
from beanwatch.worker.telemetry.systemd_status import SystemdStatus
from tests.real import wait_until
from tests.records import make_beat, make_job
from tests.worker_telemetry.conftest import RecordingLog

MINE = make_beat(instance="b", host="web1", name="w1", started_at=50.0, max_idle=20.0)
MIB = 1 << 20
HERE = "test_a_record_shows_the_running_job"
STATVFS = os.statvfs(".")


class Connection:
    """Counts how often the wait for a job was interrupted."""

    def __init__(self) -> None:
        self.interrupts = 0

    def interrupt(self) -> None:
        self.interrupts += 1


class Writer:
    """A Redis with one record and a version, which can be taken away."""

    is_expected = False
    started_at = 50.0

    def __init__(self) -> None:
        self.record: Heartbeat | None = None
        self.retired: Heartbeat | None = None
        self.version: bytes | None = None
        self.is_away = False

    def write(self, heartbeat: Heartbeat) -> PreviousHeartbeat:
        self._check()
        before, self.record = self.record, heartbeat
        return PreviousHeartbeat(before, self.version)

    def is_mine(self, instance: str) -> bool:
        self._check()
        return self.record is None or self.record.instance == instance

    def remove(self, instance: str) -> None:
        if self.is_mine(instance):
            self.record = None

    def retire(self, heartbeat: Heartbeat) -> None:
        if self.is_mine(heartbeat.instance):
            self.record, self.retired = None, heartbeat

    def _check(self) -> None:
        if self.is_away:
            raise RedisError("redis: connection refused")


class Parts:
    """The parts of a reporter, at a time that the test sets."""

    def __init__(self, tmp_path: Path, log: RecordingLog, limits: HostLimits) -> None:
        self.now = 1000.0
        self.log = log
        self.state = WorkerState(clock=self.clock)
        self.connection: Any = Connection()
        self.writer: Any = Writer()
        self.temporary = TemporaryRoot(str(tmp_path), "web1.w1", "b")
        self.host = HostWatch(
            self.state, self.connection, self.temporary, limits, log.as_logger(), clock=self.clock
        )
        self.record = HeartbeatRecord(
            MINE,
            self.state,
            self.host,
            RunCounter(log.as_logger()),
            clock=self.clock,
        )
        self.heartbeat = HeartbeatReporter(
            self.writer,
            self.record,
            log.as_logger(),
            on_duplicate=lambda why: stop_once(self.state, self.connection, why, DUPLICATE),
            restart=lambda why: self.state.stop(why, RECYCLED),
            clock=self.clock,
        )

    def clock(self) -> float:
        return self.now

    def start_a_job(self) -> RunningJob:
        job = RunningJob(
            Reserved(1, b""), JobStats(1, "work", 0, 0, 0, 60, 1, 0, 0, 0), monotonic=self.clock
        )
        job.start(30.0, 10.0)
        self.state.job = job
        return job


@pytest.fixture
def make_parts(tmp_path: Path, log: RecordingLog) -> Callable[..., Parts]:
    def make(limits: HostLimits | None = None) -> Parts:
        return Parts(tmp_path, log, limits or HostLimits())

    return make


@pytest.fixture
def parts(make_parts: Callable[..., Parts]) -> Parts:
    return make_parts()


# -- the record


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_wall_clock_that_jumps_makes_nobody_hung(parts: Parts, jump: float):
    record = HeartbeatRecord(
        MINE,
        parts.state,
        parts.host,
        RunCounter(parts.log.as_logger()),
        clock=parts.clock,
        wall=lambda: jump + time.time(),
    )
    assert decide_health(Worker("w", 0.0, record.make())) == "starting"
    parts.start_a_job()
    assert decide_health(Worker("w", 0.0, record.make())) == "busy"


def test_a_record_shows_the_running_job(parts: Parts):
    job = parts.start_a_job()
    job.set_note("halfway")
    job.set_progress(5, 10)
    job.note_place(0, is_part=True)
    parts.now += 3
    beat = parts.record.make()
    (told,) = beat.jobs
    assert (told.id, told.queue, told.where.rpartition(" ")[2]) == ("1", "work", HERE)
    assert (told.note, told.progress) == ("halfway", (5, 10))
    assert beat.beat_at - told.started_at == pytest.approx(3)
    assert told.deadline - told.started_at == pytest.approx(30)
    assert told.hard_deadline - told.started_at == pytest.approx(40)


# -- the heartbeat


def test_a_redis_that_is_away_is_logged_once_and_counted(parts: Parts):
    parts.heartbeat.write(MINE)
    parts.writer.is_away = True
    for _ in range(3):
        parts.heartbeat.write(MINE)
    parts.writer.is_away = False
    for _ in range(2):
        parts.heartbeat.write(MINE)
    assert parts.log.levels == ["warning", "info"]
    assert parts.log.lines[1][2] == {"missed": 3}
    assert parts.state.is_running


def test_a_record_that_does_not_move_on_is_no_living_twin(parts: Parts):
    dead = make_beat(instance="a", started_at=10.0, beat_at=20.0, host="web2", pid=7)
    for _ in range(3):  # as from a Redis that came back with what it had saved
        parts.writer.record = dead
        parts.heartbeat.write(MINE)
        parts.heartbeat.write(MINE)
    assert parts.state.is_running
    parts.writer.record = dead._replace(beat_at=21.0)
    parts.heartbeat.write(MINE)
    assert (parts.state.exit_code, parts.state.stop_reason) == (
        DUPLICATE,
        "another worker with this id runs on web2 with pid 7: "
        "stop it, or start this worker with another --name",
    )
    assert parts.connection.interrupts == 1


def test_the_younger_of_two_twins_goes_whatever_the_clocks_of_their_hosts_say(parts: Parts):
    younger = make_beat(instance="c", started_at=-3600.0, redis_started_at=51.0)
    for beat_at in (60.0, 61.0):
        parts.writer.record = younger._replace(beat_at=beat_at)
        parts.heartbeat.write(MINE)
    assert parts.state.is_running


def test_a_raised_version_restarts_the_worker(parts: Parts):
    parts.writer.version = b"4"
    parts.heartbeat.write(MINE)
    parts.heartbeat.write(MINE)
    assert parts.state.is_running
    parts.writer.version = b"5"
    parts.heartbeat.write(MINE)
    assert (parts.state.exit_code, parts.state.stop_reason) == (
        RECYCLED,
        "all workers were told to restart ({beanwatch}:version has changed)",
    )


def test_a_restart_for_a_new_version_comes_within_the_spread():
    watch = VersionWatch(30.0)
    watch.observe(None, 0.0)  # never raised so far
    watch.observe(b"1", 100.0)
    watch.observe(b"1", 101.0)
    assert not watch.is_restart_due(99.9)
    assert watch.is_restart_due(130.0)


@pytest.mark.parametrize(
    ("code", "words", "is_expected", "kept"),
    [
        (STOPPED, "", False, None),
        (STOPPED, "", True, ("", True)),
        (RECYCLED, "", True, ("", True)),
        (DUPLICATE, "", True, None),
        (HARD_DEADLINE, "hard deadline of send", False, ("hard deadline of send", False)),
    ],
)
def test_the_last_record_says_how_the_worker_ended(
    parts: Parts, code: int, words: str, is_expected: bool, kept: tuple[str, bool] | None
):
    parts.writer.is_expected = is_expected
    parts.heartbeat.write(MINE)
    parts.state.stop("it ends", code)
    assert parts.heartbeat.report_exit(words, parts.state.ending())
    left = parts.writer.record
    assert (left and (left.last_words, left.is_over)) == kept


def test_the_last_record_of_a_worker_with_a_crash_to_tell_is_kept(parts: Parts):
    parts.record.identity = MINE._replace(last_exit="killed while idle", crashed_at=40.0)
    parts.heartbeat.write(MINE)
    parts.state.stop("told to stop")
    assert parts.heartbeat.report_exit("", parts.state.ending())
    assert parts.writer.record is None
    assert parts.writer.retired.is_over
    assert parts.writer.retired.last_exit == "killed while idle"


def test_of_recycles_only_the_times_of_the_last_hour_are_handed_on(parts: Parts):
    now = int(time.time())
    times = tuple(range(now - 3700, now, 100))
    parts.record.identity = MINE._replace(recycles=900, recycled_at=times)
    parts.heartbeat.write(MINE)
    parts.state.recycle("it has run for max_time")
    assert parts.heartbeat.report_exit("", parts.state.ending())
    left = parts.writer.retired
    assert (left.recycles, len(left.recycled_at)) == (901, 20)
    assert left.recycled_why == "it has run for max_time (jobs run: 0)"


def test_the_record_of_another_instance_stays(parts: Parts):
    other = make_beat(instance="a")
    parts.writer.record = other
    assert parts.heartbeat.report_exit("failed", parts.state.ending())
    assert parts.writer.record is other


def test_last_words_that_redis_does_not_take_are_told_to_the_caller(parts: Parts):
    parts.writer.is_away = True
    assert not parts.heartbeat.report_exit("failed", parts.state.ending())
    assert parts.log.levels == ["warning"]


# -- the host


def test_too_much_memory_recycles_the_worker_unless_it_was_told_to_wait(
    make_parts: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
):
    parts = make_parts(HostLimits(max_memory=200 * MIB))
    monkeypatch.setattr(facts, "read_rss", lambda: 300 * MIB)
    parts.state.wait(60)
    parts.host.tick(parts.now)
    assert parts.host.rss == 300 * MIB
    assert parts.state.is_running
    parts.state.wait(0)
    parts.host.tick(parts.now)
    parts.host.tick(parts.now)
    assert (parts.state.exit_code, parts.state.stop_reason) == (
        RECYCLED,
        "it uses 300 MiB of memory, over its limit",
    )
    assert parts.connection.interrupts == 1


def test_a_worker_that_is_old_enough_is_recycled(make_parts: Callable[..., Parts]):
    parts = make_parts(HostLimits(max_time=60.0))
    parts.host.tick(parts.now + 59)
    assert parts.state.is_running
    parts.host.tick(parts.now + 60)
    assert (parts.state.exit_code, parts.state.stop_reason) == (RECYCLED, "it has run for max_time")


def test_no_jobs_are_taken_while_the_disk_is_full(
    make_parts: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
):
    parts = make_parts(HostLimits(min_free_disk=100 * MIB))
    room = [Room(50 * MIB)]
    monkeypatch.setattr(parts.temporary, "measure", lambda: room[0])
    for _ in range(2):
        parts.host.tick(parts.now)
    assert not parts.state.wants_jobs()
    where = parts.temporary.path.parent
    free = f"only 50 MiB of disk are free in {where}"
    assert parts.state.disk_full == f"{free}, under 100 MiB"
    assert parts.connection.interrupts == 1
    assert show_sizes(100 * MIB - 1, 100 * MIB) == ("99 MiB", "100 MiB")
    assert show_sizes(500_000, 600_000) == ("500000 bytes", "600000 bytes"), "not 0 MiB under 0 MiB"
    room[0] = Room(150 * MIB, 999, 100_000)
    parts.host.tick(parts.now)
    free = f"only 999 inodes (files) of the disk are free in {where}"
    assert parts.state.disk_full == f"{free}, under 1000"
    room[0] = Room(150 * MIB, 30, 100)  # a small file system
    parts.host.tick(parts.now)
    assert parts.state.wants_jobs()
    assert parts.log.levels == ["warning", "warning", "info"]


def test_a_temporary_directory_that_is_removed_is_made_again(parts: Parts, tmp_path: Path):
    parts.temporary.open()
    shutil.rmtree(tmp_path)
    parts.host.tick(parts.now)
    assert parts.state.disk_full == ""
    assert parts.temporary.make(1).exists()
    tmp_path.rename(f"{tmp_path}.old")
    assert parts.temporary.make(2).exists(), "also at once, within a job"
    parts.temporary.close()
    assert not parts.temporary.path.exists()


def test_the_next_instance_finds_the_black_box_in_a_directory_that_was_made_again(
    parts: Parts, tmp_path: Path
):
    black_box = parts.temporary.open()
    job = RunningJob(Reserved(7, b""), JobStats(7, "q", 0, 0, 0, 60, 1, 0, 0, 0))
    job.name = "send"
    black_box.write_run(job, "s1")
    shutil.rmtree(parts.temporary.path)
    parts.host.tick(parts.now)
    parts.temporary._close_in_child()  # without a lock, as if the process was killed
    heir = TemporaryRoot(str(tmp_path), "web1.w1", "c")
    (box,) = heir.sweep().values()
    assert box is not None
    assert box.run == Run("s1", "q", "send", 7, 1, "", started_at=job.started_at, wait=job.wait)


def test_without_a_temporary_directory_no_jobs_are_taken(parts: Parts, tmp_path: Path):
    parts.temporary.open()
    shutil.rmtree(tmp_path)
    tmp_path.touch()
    for _ in range(2):
        parts.host.tick(parts.now)
    reason = f"cannot use the temporary directory {parts.temporary.path}: Not a directory"
    assert parts.state.disk_full == reason
    assert parts.log.levels == ["warning"]
    tmp_path.unlink()
    parts.host.tick(parts.now)
    assert parts.state.disk_full == ""


def test_no_jobs_are_taken_while_a_temporary_directory_of_a_job_cannot_be_made(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
):
    def refuse(**_: object) -> str:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "x")

    parts.temporary.open()
    parts.host.tick(parts.now)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", refuse)
        with pytest.raises(OSError, match="quota"):
            parts.temporary.make(1)
        parts.host.tick(parts.now)
        assert parts.state.disk_full == (
            "cannot use the temporary directory x: Disk quota exceeded"
        )
    parts.host.tick(parts.now)
    assert parts.state.wants_jobs()
    parts.temporary.close()


def test_a_disk_that_hangs_blocks_the_worker_and_delays_no_tick(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
):
    responds = threading.Event()
    monkeypatch.setattr(os, "statvfs", lambda _: responds.wait(20) and STATVFS)
    started = time.monotonic()
    for seconds in range(7):
        parts.host.tick(parts.now + seconds)
    assert time.monotonic() - started < 2
    reason = f"the disk of {parts.temporary.path} does not respond"
    assert parts.state.disk_full == reason
    assert len([one for one in threading.enumerate() if one.name == "beanwatch-disk"]) == 1
    responds.set()
    wait_until(lambda: parts.host.tick(parts.now + 7) or parts.state.wants_jobs())


# -- the gauges


class RecordingMetrics:
    """Keeps gauges, and adds counts up."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def gauge(self, name: str, value: float) -> None:
        self.values[name] = value

    def count(self, name: str, n: int = 1) -> None:
        self.values[name] = self.values.get(name, 0) + n


def test_gauges_are_those_of_the_last_interval_and_totals_since_the_start(parts: Parts):
    metrics: Any = RecordingMetrics()
    gauges = ProcessGauges(
        metrics, parts.state, parts.host, parts.state.counters, capacity=1.0, clock=parts.clock
    )
    parts.host.rss = 5
    parts.state.busy_seconds, parts.state.reconnects, parts.state.touches = 4.0, 1, 3
    gauges.tick(parts.now + 10)
    assert metrics.values == {"busy": 0.4, "rss": 5, "reconnects": 1, "touches": 3}
    parts.now += 15
    parts.start_a_job()  # since 5 s when the next interval ends
    parts.state.touches = 4
    gauges.tick(parts.now)  # too early
    assert metrics.values["busy"] == 0.4
    gauges.tick(parts.now + 5)
    assert metrics.values == {"busy": 0.5, "rss": 5, "reconnects": 1, "touches": 4}


# -- systemd


def test_systemd_sees_the_state_and_no_ping_from_a_worker_that_hangs(tmp_path: Path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(5)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": str(path)})
        status = SystemdStatus(notifier, "web1.w1")
        idle = MINE._replace(state="idle", beat_at=100.0, loop_at=100.0)
        status.report(idle)
        assert [systemd.recv(100), systemd.recv(100)] == [b"STATUS=idle", b"WATCHDOG=1"]
        job = make_job(name="send", started_at=50.0, deadline=90.0, hard_deadline=130.0)
        late = idle._replace(state="busy", jobs=(job,))
        status.report(late)  # the worker ends the job itself
        assert [systemd.recv(100) for _ in range(2)] == [
            b"STATUS=busy: send (job 7)",
            b"WATCHDOG=1",
        ]
        status.report(late._replace(beat_at=131.0))
        status.report(idle._replace(beat_at=121.0))  # its main loop is stuck
        status.report(idle)
        assert [systemd.recv(100) for _ in range(2)] == [b"STATUS=idle", b"WATCHDOG=1"]
        assert notifier._socket
        notifier._socket.close()


# -- all together


class CountingSink:
    """Counts its ticks."""

    def __init__(self) -> None:
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1


def test_everything_is_reported_once_an_interval(parts: Parts):
    sink: Any = CountingSink()
    metrics: Any = RecordingMetrics()
    reporter = Reporter(
        parts.host,
        parts.record,
        parts.heartbeat,
        ProcessGauges(metrics, parts.state, parts.host, clock=parts.clock),
        SystemdStatus(SystemdNotifier({}), "web1.w1"),
        [sink],
        clock=parts.clock,
    )
    reporter.begin()
    assert parts.writer.record.disk_free > 0, "the host is measured before the first heartbeat"
    for tick in range(10):  # 0.5 s each, and a heartbeat each second
        reporter.tick(parts.now + tick / 2)
    assert sink.ticks == 5
    assert metrics.values["rss"] > 0


class RecordingNotifier:
    """Keeps what systemd is told, but for the state."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def status(self, text: str) -> None:
        pass

    def send(self, line: str) -> None:
        self.sent.append(line)


def test_systemds_watchdog_is_fed_each_second_however_long_the_interval_is(parts: Parts):
    parts.record.identity = MINE._replace(interval=60.0)
    notifier: Any = RecordingNotifier()
    sink: Any = CountingSink()
    reporter = Reporter(
        parts.host,
        parts.record,
        parts.heartbeat,
        ProcessGauges(RecordingMetrics(), parts.state, parts.host, clock=parts.clock),
        SystemdStatus(notifier, "web1.w1"),
        [sink],
        clock=parts.clock,
    )
    for tick in range(40):
        reporter.tick(parts.now + tick)
    assert notifier.sent == ["WATCHDOG=1"] * 40
    assert sink.ticks == 1
