"""Timeouts, hard deadlines, touches, poison: no job exceeds its time or runs twice at once."""

from pathlib import Path

import pytest

from tests.real import Redis, wait_until
from tests.worker_core.conftest import Broker, StartWorker


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
        minutes = [redis.hgetall(key) for key in redis.keys("beanwatch:outcomes:*")]  # 1 or 2
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


def test_a_call_that_keeps_the_interpreter_lock_ends_by_the_watchdog(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("lock", ttr=5)
    worker = start_worker("--grace", "0.2")
    assert worker.exit_code(60) == 1
    assert "Timeout" in worker.errors.read_text()
    assert "jobs.py" in worker.errors.read_text()
    wait_until(lambda: broker.job(job_id)["state"] == "ready")
    beat = start_worker().wait_for("idle")
    assert beat.last_exit == f"killed while running lock (job {job_id})"


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
    wait_until(lambda: worker.beat().job == "give-away")
    with broker.server.client(watch="work") as other:
        assert other.reserve(10).id == job_id
        taken.touch()
        wait_until(lambda: worker.outcomes() == ["lost"])
    assert "beanstalkd took the job back" in worker.runs()[0]["reason"]
