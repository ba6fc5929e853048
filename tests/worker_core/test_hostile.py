"""Jobs and handlers that harm the worker, and how it deals with them."""

import json
import os
import signal
import time
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from beanwatch.store.black_box import read_exit_reason
from beanwatch.store.heartbeats import WORKERS_KEY, Worker
from beanwatch.worker import App, Context
from beanwatch.worker.guard import watchdog
from beanwatch.worker.monitor.exceptions import format_exception_line
from tests.conftest import Result
from tests.real import Redis, wait_until
from tests.real.hung_disk import hung_disk
from tests.records import make_beat
from tests.worker_core.conftest import Broker, StartWorker
from tests.worker_core.test_control import tell

APP = "tests.worker_core.hostile_jobs:app"


@pytest.mark.parametrize(
    "kind",
    [
        "unspeakable",
        "base",
        "surrogate",
        "huge",
        "cycle",
        "group",
        "cancelled",
        "recursion",
        "syntax",
    ],
)
def test_whatever_a_handler_raises_it_is_buried_and_the_worker_goes_on(
    start_worker: StartWorker, broker: Broker, kind: str
) -> None:
    job_id = broker.put("raise", {"kind": kind})
    broker.put("ok")
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["buried", "ok"])
    assert broker.job(job_id)["state"] == "buried"
    assert len(worker.runs()[0]["reason"]) < 1100
    assert worker.stop() == 0


def test_a_follow_up_that_cannot_be_put_buries_the_job_and_ends_no_worker(
    start_worker: StartWorker, broker: Broker
) -> None:
    def is_readable(depth: int) -> bool:
        try:
            msgspec.json.decode(b"[" * depth + b"]" * depth)
        except RecursionError:
            return False
        return True

    # Each version of Python has a limit of its own, which the calls around also count for. Close to
    # it, what can be read cannot be written again.
    limit = bisect_left(range(100_000), True, key=lambda depth: not is_readable(depth))
    ids = []
    for depth in range(limit - 100, limit + 100, 3):
        nested = b"[" * depth + b"]" * depth
        follow_up = b'{"queue":"next","job":"ok","data":%b}' % nested
        body = b'{"job":"ok","success":%b,"failure":%b}' % (follow_up, follow_up)
        with broker.server.client(use="work", encoding=None) as client:
            ids.append(client.put(body))
    broker.put("ok")
    worker = start_worker("--max-attempts", 2, app=APP)
    wait_until(lambda: len(worker.runs()) == len(ids) + 1)
    outcomes = worker.outcomes()
    assert outcomes[0] == outcomes[-1] == "ok"
    assert set(outcomes) <= {"ok", "buried", "invalid"}
    assert {"buried", "invalid"} & set(outcomes)
    assert worker.stop() == 0


def test_directories_deeper_than_python_can_follow_are_removed(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    broker.put("deep")
    broker.put("ok")
    worker = start_worker("--tmp-root", tmp_path, app=APP)
    wait_until(lambda: worker.outcomes() == ["ok", "ok"])
    assert not list(tmp_path.glob("beanwatch-*/1-*"))
    assert not worker.logged("temporary files")
    assert worker.stop() == 0


def test_a_disk_that_hangs_blocks_the_worker_and_costs_neither_the_job_nor_the_stop(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    disk, go = tmp_path / "disk", tmp_path / "go"
    disk.mkdir()
    broker.put("leave", {"until": str(go)})
    worker = start_worker(
        *("--tmp-root", disk, "--shutdown-timeout", 2),
        app="tests.worker_core.stuck_jobs:app",
        env={"STUCK_LIMIT": "1"},
    )
    worker.wait_for("busy")
    with hung_disk(disk):
        go.touch()
        wait_until(lambda: worker.outcomes() == ["ok"])
        assert worker.logged("the temporary files of leave could not be removed: ")
        reason = worker.wait_for("blocked").reason
        assert reason.startswith(f"the disk of {disk}/beanwatch-here.w1-")
        assert reason.endswith(" does not respond")
        broker.put("leave", {"until": str(go)})
        assert broker.counts(ready=1)
    wait_until(lambda: worker.outcomes() == ["ok", "ok"])
    with hung_disk(disk):
        started = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - started < 8


def test_a_stop_does_not_wait_for_temporary_files_longer_than_for_a_job(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    disk, go = tmp_path / "disk", tmp_path / "go"
    disk.mkdir()
    broker.put("leave", {"until": str(go)})
    app = "tests.worker_core.stuck_jobs:app"
    worker = start_worker("--tmp-root", disk, "--shutdown-timeout", 1, app=app)
    worker.wait_for("busy")
    with hung_disk(disk):
        go.touch()
        wait_until(lambda: worker.running().hard_deadline - time.time() > 75)  # it cleans up
        started = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - started < 8
    assert worker.outcomes() == ["ok"]
    assert broker.counts()


def test_a_disk_that_hangs_at_the_start_is_one_line_and_exit_1(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with hung_disk(disk):
        worker = start_worker("--tmp-root", disk)
        assert worker.exit_code() == 1
    assert worker.errors.read_text().endswith(
        ": the disk did not respond within 10 s; see --tmp-root\n"
    )


def test_a_worker_that_hangs_while_it_ends_a_run_is_ended_in_time(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("ok")
    worker = start_worker(
        "--shutdown-timeout", 1, app="tests.worker_core.stuck_jobs:app", env={"STUCK_LOG": "1"}
    )
    worker.wait_for("busy")
    wait_until(broker.counts)  # it is acknowledged, and hangs then
    started = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert time.monotonic() - started < 12
    assert worker.logged(f"the worker hung while it ended the run of ok (job {job_id})")


def test_a_worker_that_hangs_while_it_ends_a_run_does_not_hang_for_ever(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("no-such-job")
    env = {"STUCK_LOG": "1", "STUCK_LIMIT": "0.5", "STUCK_END": "0.5"}
    worker = start_worker(app="tests.worker_core.stuck_jobs:app", env=env)
    assert worker.exit_code() == 11
    assert worker.logged(f"the worker hung while it ended the run of unknown (job {job_id})")
    reason = f"the worker hung while it ended the run of unknown (job {job_id})"
    assert worker.beat().last_words == reason


def test_a_handler_whose_decorator_hides_that_it_is_async_is_run(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    broker.put("hidden", {"seconds": 0, "file": str(file)})
    broker.put("hidden", {"seconds": 60, "file": str(file)})
    broker.put("yields")
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["ok", "timeout", "buried"])
    assert file.read_text() == "ran\n"
    assert (
        "the handler returned a generator, which the worker cannot run"
        in worker.runs()[2]["reason"]
    )


def test_what_would_never_run_is_refused_at_once() -> None:
    app = App()

    def yields(ctx: Context, data: Any) -> Any:
        yield 1

    async def waits(ctx: Context) -> None:
        pass

    with pytest.raises(TypeError, match="would never run"):
        app.job("yields")(yields)
    with pytest.raises(TypeError, match="would never run"):
        app.before_job(waits)


def test_a_thread_that_outlives_its_job_puts_nothing_and_harms_nobody(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    broker.put("leaves", {"file": str(file)})
    worker = start_worker(app=APP)
    assert "the job has ended" in wait_until(file.read_text)
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok", "ok"])
    assert not worker.logged("the connection to beanstalkd failed")


def test_a_forked_child_that_exits_without_a_word_has_done_well(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    broker.put("forks", {"file": str(file)})
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["ok"])
    assert file.read_text() == "0\n"


def test_an_error_without_a_text_is_described_all_the_same() -> None:
    class Unspeakable(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise KeyError("text")

    assert format_exception_line(Unspeakable()) == "Unspeakable: its __str__ raises KeyError"


@pytest.mark.parametrize("kind", ["chdir", "fds", "stdout", "thread", "environ"])
def test_what_a_handler_does_to_the_process_does_not_harm_the_next_job(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "file"
    broker.put("harm", {"kind": kind})
    broker.put("cwd", {"file": str(file)})
    broker.put("soft")
    worker = start_worker("--grace", 30, app=APP)
    wait_until(lambda: worker.outcomes() == ["ok", "ok", "timeout"])
    assert file.read_text().strip() == os.getcwd()
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert worker.seen() is None


def test_a_worker_whose_job_closed_standard_output_still_logs_there(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("harm", {"kind": "fds"})
    broker.put("ok")
    worker = start_worker("--log-file", "", app=APP)
    wait_until(lambda: broker.counts())
    wait_until(lambda: "ok ok" in worker.errors.read_text())


def test_signals_that_a_handler_took_come_back(start_worker: StartWorker, broker: Broker) -> None:
    broker.put("harm", {"kind": "signals"})
    worker = start_worker("--reserve-timeout", 1, app=APP)
    wait_until(lambda: worker.logged("a job replaced the handler of SIGTERM"))
    broker.put("soft")
    wait_until(lambda: worker.outcomes() == ["ok", "timeout"])
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0


@pytest.mark.parametrize("job", ["hook", "sour"])
def test_no_hook_and_no_resource_ends_the_worker(
    start_worker: StartWorker, broker: Broker, job: str
) -> None:
    for _ in range(2):
        broker.put(job)
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["ok", "ok"])
    assert worker.stop() == 0
    assert worker.seen() is None


@pytest.mark.parametrize(
    ("how", "outcome", "reason"),
    [
        ("raise", "invalid", "the data does not fit the handler: KeyError: 'how'"),
        ("exit", "buried", "SystemExit: 5"),
        ("hang", "timeout", "the job ran longer than 0.3 s, its timeout"),
    ],
)
def test_the_types_of_an_application_may_fail_as_its_handlers_may(
    start_worker: StartWorker, broker: Broker, how: str, outcome: str, reason: str
) -> None:
    broker.put("picky", {"how": how})
    broker.put("ok")
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == [outcome, "ok"])
    assert reason in worker.runs()[0]["reason"]


def test_what_json_cannot_carry_in_a_note_does_not_end_the_worker(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("note")
    worker = start_worker(app=APP)
    wait_until(lambda: worker.running().note)
    beat = tell(broker, worker, "status").beat
    assert beat is not None
    (job,) = beat["jobs"]
    assert (job["note"], job["progress"]) == ("\\udcff", [2**53, 2**53])


def test_a_forked_child_keeps_no_job_and_says_nothing_to_beanstalkd(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    said, child = tmp_path / "said", tmp_path / "child"
    worker = start_worker(app=APP)
    listening = f"beanwatch.control.{worker.id}"
    wait_until(lambda: broker.server.stats_tube(listening).get("current-waiting"))
    job_id = broker.put("child", {"said": str(said), "child": str(child)})
    pid = int(wait_until(child.read_text))
    assert "the connection to beanstalkd is closed" in wait_until(said.read_text)
    worker.process.kill()
    worker.process.wait()
    try:
        wait_until(lambda: broker.job(job_id)["state"] == "ready")
        wait_until(lambda: not broker.server.stats_tube(listening).get("current-watching"))
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("job", ["child", "child_aborts"])
def test_a_killed_worker_is_told_whatever_a_child_that_its_job_forked_does(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, job: str
) -> None:
    """One child lives on, the other one has crashed before."""
    child = tmp_path / "child"
    worker = start_worker(app=APP)
    job_id = broker.put(job, {"said": str(tmp_path / "said"), "child": str(child)})
    pid = int(wait_until(child.read_text))
    worker.process.kill()
    worker.process.wait()
    try:
        with broker.server.client(watch="work") as client:
            client.delete(client.reserve(30))
        heir = start_worker(app=APP)
        assert heir.wait_for("idle").last_exit == f"killed while running {job} (job {job_id})"
        wait_until(lambda: heir.outcomes(job) == ["retry"])
        assert "its worker was killed while it ran" in heir.runs(job)[0]["reason"]
    finally:
        if pid > 0:
            os.kill(pid, signal.SIGKILL)


def test_no_producer_makes_a_series_or_a_time_that_there_cannot_be(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("no\nsuch\x00job")
    broker.put("ok", envelope={"enqueued_at": -1e308})
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["invalid", "ok"])
    assert [run["job"] for run in worker.runs()] == ["unknown", "ok"]
    reason = "the application has no handler for the job 'no\\nsuch\\x00job'"
    assert worker.runs()[0]["reason"] == reason
    assert 0 <= worker.runs()[1]["wait_ms"] < 10_000


def test_a_time_that_is_no_time_of_a_put_is_ignored_and_counted(
    start_worker: StartWorker, broker: Broker
) -> None:
    now = time.time()
    for wrong in (0, now * 1000, now + 2 * 86400, "now"):
        broker.put("ok", envelope={"enqueued_at": wrong, "id": 4711})
    broker.put("ok", envelope={"enqueued_at": now})
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["ok"] * 5)
    assert all(0 <= run["wait_ms"] < 10_000 for run in worker.runs())
    assert [run["id"] for run in worker.runs()] == ["4711"] * 4 + [""]
    wait_until(lambda: worker.beat().ignored_values == 4)
    lines = [line for line in worker.lines() if "ignored a value" in line["message"]]
    assert len(lines) == 1, "not a line for each job"
    assert "expected seconds since 1970" in lines[0]["message"]


def test_a_clean_end_that_redis_did_not_hear_of_is_no_crash(
    start_worker: StartWorker, redis_server: Redis
) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    redis_server.freeze()
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    redis_server.thaw()
    assert worker.seen() is not None
    heir = start_worker()
    beat = heir.wait_for("idle")
    assert (beat.last_exit, beat.restarts) == ("", 0)


def test_the_check_learns_from_the_black_box_how_a_worker_ended_while_redis_was_away(
    start_worker: StartWorker, redis_server: Redis, run: Callable[..., Result]
) -> None:
    clean, killed, live = (start_worker(name=name) for name in ("clean", "killed", "live"))
    for worker in (clean, killed, live):
        worker.wait_for("idle")
    redis_server.freeze()
    clean.signal(signal.SIGTERM)
    killed.signal(signal.SIGKILL)
    assert clean.exit_code() == 0
    killed.exit_code()
    redis_server.thaw()
    wait_until(live.seen)
    with redis_server.client() as redis:
        for worker in (clean, killed):
            redis.zincrby(WORKERS_KEY, -300, worker.id)
    check = partial(run, "check_worker_heartbeat", "--redis", redis_server.url, "--worker")
    wait_until(lambda: check("here.[cl]*").code == 0)
    words = "here.clean: it stopped on request while Redis was away, 5m"
    assert words in check("here.[cl]*").stdout
    assert "here.killed: dead, no heartbeat for 5m" in check("*").stdout
    expected = check("here.clean")  # a worker that is named by its id must run
    assert expected.code == 2
    assert "here.clean: ended 5m" in expected.stdout
    assert "(it stopped on request while Redis was away), and was not started" in expected.stdout


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("{dir}/beanwatch-here.w1-{instance}/other", "0123456789abcdef"),
        ("{dir}/elsewhere/job", "0123456789abcdef"),
        ("{dir}/beanwatch-here.w1-x/job", "x"),
        ("relative/beanwatch-here.w1-{instance}/job", "0123456789abcdef"),
        ("{dir}/beanwatch-here.w1-{instance}/job\0", "0123456789abcdef"),
        ("", "0123456789abcdef"),
    ],
)
def test_no_record_makes_a_check_read_a_file_that_is_no_black_box(
    tmp_path: Path, path: str, instance: str
) -> None:
    good = tmp_path / f"beanwatch-here.w1-{instance}" / "job"
    good.parent.mkdir()
    good.write_text("end why\n")
    for name in (good.parent / "other", tmp_path / "elsewhere" / "job"):
        name.parent.mkdir(exist_ok=True)
        name.write_text("end secret\n")

    def read(where: str) -> str | None:
        beat = make_beat(instance=instance, black_box=where)
        return read_exit_reason(Worker("here.w1", 60.0, beat))

    assert read(path.format(dir=tmp_path, instance=instance)) is None
    if instance != "x":
        assert read(str(good)) == "why"
        good.unlink()
        os.mkfifo(good)  # nobody writes into it
        assert read(str(good)) is None


def test_without_a_thread_to_be_had_the_watchdog_is_armed_at_the_next_tick(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    armed: list[float] = []

    def arm(seconds: float, **_: object) -> None:
        if not armed:
            armed.append(0.0)
            raise RuntimeError("unable to start watchdog thread")
        armed.append(seconds)

    monkeypatch.setattr(watchdog.faulthandler, "dump_traceback_later", arm)
    monkeypatch.setattr(watchdog.signal, "setitimer", lambda *_: None)
    with (tmp_path / "stacks").open("ab", buffering=0) as file:
        dog = watchdog.Watchdog(file, file, clock=lambda: 100.0)
    dog.tick(0.0)
    dog.cover_job(130.0)  # a job may come first
    assert armed[1:] == [30.0 + watchdog.HARD_DEADLINE_MARGIN + 2.0]


def test_after_a_long_job_the_watchdog_is_set_to_the_short_time_of_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    armed: list[float] = []
    monkeypatch.setattr(
        watchdog.faulthandler, "dump_traceback_later", lambda after, **_: armed.append(after)
    )
    dog = watchdog.Watchdog(1, 1, clock=lambda: 100.0)
    dog.tick(3700.0)
    dog.cover_job(3650.0)  # as long, so that no new thread is worth it
    dog.cover_job(170.0)
    margin = watchdog.HARD_DEADLINE_MARGIN + 2.0
    assert armed == [3600.0 + margin, 70.0 + margin]


@pytest.mark.parametrize(
    ("job", "data", "to_file"),
    [
        ("closes", {"files": 0, "seconds": 0}, True),
        ("closes", {"files": 0, "seconds": 30}, False),
        ("closes", {"files": 200, "seconds": 30}, True),
        ("closes_async", {"seconds": 0.1}, True),
    ],
)
def test_a_handler_that_closes_all_descriptors_is_named_in_one_line(
    start_worker: StartWorker, broker: Broker, job: str, data: dict[str, float], to_file: bool
) -> None:
    job_id = broker.put(job, data)
    worker = start_worker(*() if to_file else ("--log-file", ""), app=APP)
    assert worker.exit_code() == 1
    reason = f"{job} (job {job_id}) closed file descriptors of the worker"
    if to_file:
        assert worker.errors.read_text() == ""
        lines = [line["message"] for line in worker.lines()]
    else:
        # Where jobs share the stream, each line of the log begins anew, so some lines are empty.
        written = filter(None, worker.errors.read_text().splitlines())
        lines = [json.loads(line)["message"] for line in written]
    assert lines[-1] == f"the worker exits with 1: {reason}"
    if job != "closes_async":  # which goes on: another thread may find its own descriptor closed
        assert len(lines) == 2
    with broker.server.client(watch="work") as client:
        client.bury(client.reserve())
    heir = start_worker()
    wait_until(lambda: heir.beat().pid == heir.process.pid)
    assert heir.beat().last_exit == reason


def test_data_that_does_not_fit_is_not_in_the_log(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("color", "5ecret")
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["invalid"])
    reason = "the data does not fit the handler: Invalid enum value (not shown)"
    assert worker.runs()[0]["reason"] == reason
    assert "5ecret" not in worker.log_file.read_text()


def test_what_a_handler_and_its_children_print_spoils_no_line_of_the_log(
    start_worker: StartWorker, broker: Broker
) -> None:
    for _ in range(2):
        broker.put("half")
    worker = start_worker("--log-file", "", app=APP)  # standard output, also standard error

    def outcomes() -> list[str]:
        lines = worker.errors.read_text().splitlines()
        found = [json.loads(line)["context"] for line in lines if line.startswith("{")]
        return [context["outcome"] for context in found if "outcome" in context]

    wait_until(lambda: outcomes() == ["ok", "ok"])
    assert worker.errors.read_text().count("\nhalf a lineouterr\n") == 2
