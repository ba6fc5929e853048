"""Timeouts, hard deadlines, touches, poison: no job exceeds its time or runs twice at once."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.ledger import LedgerEntry, read_job_by_id
from beanwatch.worker.api.errors import JobStopped, JobTimeout
from beanwatch.worker.core.start import describe_stacks
from beanwatch.worker.guard.black_box import read_black_box
from beanwatch.worker.guard.deadline import Alarm
from tests.real import Redis, wait_until
from tests.worker_core.conftest import Broker, RunningWorker, StartWorker
from tests.worker_core.impatient_jobs import IMPATIENCE


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("data", [{}, {"loop": True}], ids=["system call", "endless loop"])
def test_at_its_timeout_a_handler_may_clean_up(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, data: dict[str, object]
) -> None:
    job_id = broker.put("soft", {"file": str(tmp_path / "log"), **data})
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["timeout"])
    assert (tmp_path / "log").read_text() == "cleaned up\n"
    assert "longer than 0.3 s" in worker.runs()[0]["reason"]
    assert broker.job(job_id)["state"] == "buried"
    assert worker.process.poll() is None


@pytest.mark.parametrize("cause", ["timeout", "stop"])
def test_a_signal_that_came_a_moment_before_the_system_call_comes_again(cause: str) -> None:
    """Python's handler runs between two instructions, so that call would never be interrupted."""
    alarm, signals = Alarm(), []

    def lose_the_first(*_: object) -> None:
        signals.append(time.monotonic())
        if len(signals) > 1:
            alarm.ring()

    before = signal.signal(signal.SIGALRM, lose_the_first)
    try:
        alarm.arm(0.2 if cause == "timeout" else 60)
        if cause == "stop":
            alarm.throw(JobStopped("it must stop"))
        with pytest.raises(JobTimeout if cause == "timeout" else JobStopped):
            time.sleep(30)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "the clean-up is not disturbed"
        alarm.disarm()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("data", [{}, {"block": True}], ids=["awaiting", "blocking the loop"])
def test_at_its_timeout_a_coroutine_may_clean_up(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, data: dict[str, object]
) -> None:
    for _ in range(2):
        broker.put("async-soft", {"file": str(tmp_path / "log"), **data})
    broker.put("async", {"file": str(tmp_path / "after")})
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["timeout", "timeout", "ok"])
    assert (tmp_path / "log").read_text() == "cleaned up\n" * 2


def test_past_the_hard_deadline_the_job_is_released_and_the_process_ends(
    start_worker: StartWorker, broker: Broker, redis_server: Redis, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    job_id = broker.put("hang", {"file": str(pids)}, priority=5)
    worker = start_worker("--grace", "0.5")
    assert worker.exit_code() == 11
    (run,) = worker.runs("hang")
    assert (run["outcome"], run["attempt"]) == ("timeout", 1)
    stacks = worker.logged("the main thread did not end")
    assert stacks
    assert "jobs.py" in stacks["context"]["stacks"]
    assert "Thread pulse" in stacks["context"]["stacks"]
    wait_until(lambda: not is_alive(int(pids.read_text())), message="the child process is killed")
    job = broker.job(job_id)
    assert (job["releases"], job["timeouts"], job["pri"]) == (1, 0, 5)

    assert start_worker("--grace", "0.5", name="w1").exit_code() == 11
    assert worker.outcomes("hang") == ["timeout", "timeout"]
    assert broker.job(job_id)["state"] == "buried"
    heir = start_worker()
    beat = heir.wait_for("idle")
    assert beat.restarts == 2
    assert beat.last_exit == f"hang (job {job_id}) ran past its hard deadline"
    with redis_server.client() as redis:
        minutes = [redis.hgetall(key) for key in redis.keys("{beanwatch}:outcomes:*")]  # 1 or 2
        assert sum(int(minute["work|hang|timeout"]) for minute in minutes) == 2


def test_a_job_may_be_buried_at_its_first_timeout(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    job_id = broker.put("hang-bury", {"file": str(tmp_path / "pids")})
    assert start_worker("--grace", "0.5").exit_code() == 11
    assert broker.job(job_id)["state"] == "buried"


def test_a_long_job_with_a_short_time_to_run_is_run_once(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    """The TTR is 2 s, the job takes 8 s, and a second worker waits for a job."""
    runs = tmp_path / "runs"
    workers = [start_worker(name=name) for name in ("w1", "w2")]
    for worker in workers:
        worker.wait_for("idle")
    job_id = broker.put("sleep", {"seconds": 8, "file": str(runs)}, ttr=2)
    wait_until(lambda: [o for w in workers for o in w.outcomes()] == ["ok"], 40)
    assert runs.read_text() == f"{job_id} 1\n"
    # beanstalkd 1.12 often forgets a time to run, so that one run alone proves nothing.
    assert broker.server.stats()["cmd-touch"] >= 6


def test_a_regex_that_never_ends_is_a_timeout_like_any_other(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("regex")
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["timeout"])


def recorded(worker: RunningWorker, broker: Broker, job_id: int) -> list[LedgerEntry]:
    """The runs of a job in the ledger."""
    server = str(broker.server.stats()["id"])
    with RedisReader(parse_redis_url(worker.redis_url), 5) as link:
        return read_job_by_id(link.execute, server, job_id)


def test_a_call_that_keeps_the_interpreter_lock_ends_by_the_watchdog(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("lock", ttr=5)
    worker = start_worker("--grace", "0.2")
    assert worker.exit_code(60) == 1
    assert worker.errors.read_text() == "", "no text that is not JSON is in the journal"
    wait_until(lambda: broker.job(job_id)["state"] == "ready")
    with broker.server.client(watch="work") as client:
        client.delete(client.reserve(5))
    heir = start_worker()
    cause = "ended by its watchdog (the pulse thread did not run: C code held the interpreter lock"
    told = f"{cause}, or the process was frozen) while running lock (job {job_id})"
    assert heir.wait_for("idle").last_exit == told
    line = heir.logged("the previous instance ended unexpectedly: ended by its watchdog")
    assert line
    assert "jobs.py" in line["context"]["stacks"]
    (run,) = heir.runs("lock")
    assert (run["outcome"], run["attempt"], run["queue"]) == ("timeout", 1, "work")
    assert "duration_ms" not in run, "nobody measured it"
    (entry,) = wait_until(lambda: recorded(heir, broker, job_id))
    assert (entry.outcome, entry.reason) == ("timeout", run["reason"])
    assert cause in entry.reason
    assert "jobs.py" in entry.traceback
    assert entry.instance != heir.beat().instance


@pytest.mark.parametrize(
    ("how", "cause"), [("segfault", "ended by a crash (Segmentation fault)"), ("kill", "killed")]
)
def test_a_run_during_which_its_worker_died_is_recorded_with_the_cause(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, how: str, cause: str
) -> None:
    job_id = broker.put("crash", {"how": how, "file": str(tmp_path / "attempts")})
    worker = start_worker()
    assert worker.exit_code() < 0
    with broker.server.client(watch="work") as client:
        client.delete(client.reserve(5))
    heir = start_worker(redis="redis://127.0.0.1:1/0")  # Redis is away: the black box is enough
    wait_until(lambda: heir.outcomes("crash") == ["retry"])
    assert heir.logged(f"ended unexpectedly: {cause} while running crash (job {job_id})")
    assert cause in heir.runs("crash")[0]["reason"]


def test_an_idle_worker_that_was_frozen_goes_on_and_says_so(
    start_worker: StartWorker, broker: Broker
) -> None:
    worker = start_worker(app="tests.worker_core.impatient_jobs:app")
    worker.wait_for("idle")
    worker.signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    wait_until(lambda: time.monotonic() - frozen_at > IMPATIENCE + 0.5)
    worker.signal(signal.SIGCONT)
    line = wait_until(lambda: worker.logged("no Python code ran for"))
    assert "process was frozen" in line["message"]
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"])
    assert worker.stop() == 0
    assert list(worker.log_file.parent.glob("beanwatch-*")) == []


def test_an_idle_process_that_computes_without_a_tick_is_ended(tmp_path: Path) -> None:
    """As a thread that a handler left behind may, if it never gives the interpreter lock away."""
    code = f"""
from beanwatch.worker.guard.black_box import BlackBox
from beanwatch.worker.guard.watchdog import Watchdog
from pathlib import Path
box = BlackBox(Path({str(tmp_path / "box")!r}))
dog = Watchdog(box.fatal_stacks, box.idle_stacks, cpu_limit=0.1)
dog.start()
dog.tick(0.0)
while True: pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGPROF, b"")
    box = read_black_box(tmp_path / "box")
    assert box is not None
    assert "line 9 in <module>" in box.stacks
    assert describe_stacks(box.stacks).startswith("ended by its watchdog")


@pytest.mark.parametrize("how", ["exit", "segfault", "kill"])
def test_a_job_that_kills_its_worker_is_buried_before_it_does_so_once_more(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, how: str
) -> None:
    attempts = tmp_path / "attempts"
    job_id = broker.put("crash", {"how": how, "file": str(attempts)})

    def run_until_buried(name: str) -> None:
        for _ in range(3):
            assert start_worker(name=name).exit_code() != 0
        worker = start_worker(name=name)
        wait_until(lambda: worker.outcomes("crash")[-1:] == ["poison"])
        worker.stop()

    run_until_buried("w1")
    assert len(attempts.read_text().splitlines()) == 3
    assert broker.job(job_id)["state"] == "buried"
    if how != "exit":  # from here on they differ no more
        return
    with broker.server.client() as client:
        client.kick_job(job_id)
    run_until_buried("w2")
    assert len(attempts.read_text().splitlines()) == 6


def test_a_job_that_was_given_to_another_worker_is_recorded_as_lost(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    """The test does not rely on the TTR, since beanstalkd 1.12 often does not enforce it."""
    taken = tmp_path / "taken"
    job_id = broker.put("give-away", {"taken": str(taken)})
    worker = start_worker()
    wait_until(lambda: worker.running().name == "give-away")
    with broker.server.client(watch="work") as other:
        assert other.reserve(10).id == job_id
        taken.touch()
        wait_until(lambda: worker.outcomes() == ["lost"])
    assert "beanstalkd took the job back" in worker.runs()[0]["reason"]
