"""Celery 5.0 and the newest Celery 5: what beanwatch says of their jobs, and what they obey."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.adapters.brokers import Brokers
from tests.adapters.kinds import CELERY, celery
from tests.adapters.situations import Stage
from tests.adapters.workers import ForeignWorker, Kind, Records
from tests.real import wait_until

PATIENCE = 120.0  # seconds, on a machine that is busy with other tests
# A worker of each version with a pool of processes, and one with threads.
BROKERS = {"5.0": "redis", "5": "rabbitmq"}
KINDS = [celery(version, "prefork", BROKERS[version]) for version in CELERY]
THREADS = celery("5", "threads", "redis")


@pytest.fixture(scope="module")
def workers(brokers: Brokers) -> Iterator[dict[str, ForeignWorker]]:
    """They are started together."""
    with ExitStack() as stack:
        yield {
            kind.name: stack.enter_context(brokers.make_worker(kind)) for kind in (*KINDS, THREADS)
        }


def ready(worker: ForeignWorker, brokers: Brokers) -> Stage:
    stage = Stage(worker, Records(brokers.own.url), brokers.own.url)
    stage.become_idle()
    return stage


@pytest.fixture(params=[kind.name for kind in KINDS])
def worker(
    request: pytest.FixtureRequest, workers: dict[str, ForeignWorker], brokers: Brokers
) -> ForeignWorker:
    """The worker of one version that has a pool of processes."""
    found = workers[request.param]
    ready(found, brokers)
    return found


def test_each_run_is_reported_with_the_id_and_the_outcome_that_celery_gives_it(
    worker: ForeignWorker,
) -> None:
    done, failed, again = worker.put("quick", 7), worker.put("fail"), worker.put("again")
    ignored, rejected = worker.put("ignore"), worker.put("reject")
    jobs = (done, failed, again, ignored, rejected)
    wait_until(lambda: all(map(worker.ends, jobs)) and len(worker.ends(again)) == 2, PATIENCE)
    assert worker.ends(done) == ["ok"]
    assert worker.ends(failed) == ["failed: RuntimeError: the printer is on fire"]
    busy = "RuntimeError: the printer is busy"
    assert worker.ends(again) == [f"retry: {busy}", f"failed: {busy}"]
    assert worker.ends(ignored) == ["discarded: the task raised Ignore"]
    (end,) = worker.ends(rejected)
    assert end.startswith("failed: rejected:")
    assert [run["attempt"] for run in worker.runs() if run["job_id"] == again] == [1, 2]
    (run,) = [run for run in worker.runs() if run["job_id"] == failed]
    assert (run["job"], run["queue"], run["kind"]) == ("fail", "mail", "celery")
    assert failed in worker.beanwatch("job", failed)


def test_time_limits_are_told_as_such(worker: ForeignWorker) -> None:
    soft = worker.put("busy", str(worker.file()), soft_time_limit=1)
    hard = worker.put("hang", str(worker.file()), time_limit=1)
    wait_until(lambda: worker.ends(soft) and worker.ends(hard), PATIENCE)
    (end,) = worker.ends(soft)
    assert end.startswith("timeout: SoftTimeLimitExceeded")
    assert worker.ends(hard) == ["timeout: exceeded its time limit of 1 s"]


def test_a_lost_process_of_the_pool_is_told_with_its_job_and_replaced(
    worker: ForeignWorker, brokers: Brokers
) -> None:
    killed, left = worker.put("die"), worker.put("leave")
    wait_until(lambda: worker.ends(killed) and worker.ends(left), PATIENCE)
    (end,) = worker.ends(killed)
    assert end.startswith("failed: its process was lost")
    (end,) = worker.ends(left)
    assert end.startswith("failed: its process was lost")
    records = Records(brokers.own.url)

    def exits() -> str:
        beats = [one.heartbeat for one in records.read(worker.name)]
        return " ".join(beat.last_exit for beat in beats if beat is not None)

    wait_until(lambda: "killed" in exits() or "exit code 3" in exits(), PATIENCE)


def test_a_job_with_a_late_acknowledgement_runs_again_after_its_process_was_lost(
    worker: ForeignWorker, brokers: Brokers
) -> None:
    end = worker.file()
    job = worker.put("late", str(end))
    records = Records(brokers.own.url)

    def find_pid() -> int:
        beats = [one.heartbeat for one in records.read(worker.name)]
        return next((beat.pid for beat in beats if beat and beat.job and beat.job.id == job), 0)

    worker.kill(wait_until(find_pid, PATIENCE))
    wait_until(lambda: worker.ends(job), PATIENCE)
    assert worker.ends(job)[0].startswith("retry: its process was lost")
    end.touch()
    wait_until(lambda: worker.ends(job)[-1] == "ok", PATIENCE)


def test_revoked_jobs_are_told_as_discarded(worker: ForeignWorker, brokers: Brokers) -> None:
    running = worker.put("busy", str(worker.file()), soft_time_limit=600)
    stage = Stage(worker, Records(brokers.own.url), brokers.own.url)
    wait_until(lambda: stage.health() == "busy", PATIENCE)
    worker.put("revoke", running, terminate=True)
    wait_until(lambda: worker.ends(running), PATIENCE)
    assert worker.ends(running) == ["discarded: revoked and terminated"]
    waiting = worker.put("quick", countdown=5)
    worker.put("revoke", waiting)
    wait_until(lambda: worker.ends(waiting), PATIENCE)
    assert worker.ends(waiting) == ["discarded: revoked"]
    expired = worker.put("quick", countdown=2, expires=1)
    wait_until(lambda: worker.ends(expired), PATIENCE)
    assert worker.ends(expired) == ["discarded: expired"]


def test_a_task_that_the_application_does_not_have_is_told_as_invalid(
    worker: ForeignWorker,
) -> None:
    job = worker.put("unknown", "shop.missing")
    wait_until(lambda: worker.ends(job), PATIENCE)
    (end,) = worker.ends(job)
    assert end.startswith("invalid: unknown task")
    (run,) = [run for run in worker.runs() if run["job_id"] == job]
    assert run["job"] == "unknown"  # the name is anybody's invention


def test_threads_run_several_jobs_at_a_time(
    workers: dict[str, ForeignWorker], brokers: Brokers
) -> None:
    worker = workers["celery5-threads"]
    ready(worker, brokers)
    end = worker.file()
    jobs = {worker.put("busy", str(end)) for _ in range(2)}
    records = Records(brokers.own.url)

    def lines() -> dict[str, str]:
        (found,) = records.read(worker.name)
        assert found.heartbeat is not None
        return {job.id: job.where for job in found.heartbeat.jobs}

    wait_until(lambda: set(lines()) == jobs, PATIENCE)
    wait_until(lambda: all(line.endswith(" busy") for line in lines().values()), PATIENCE)
    end.touch()
    wait_until(lambda: all(worker.ends(job) == ["ok"] for job in jobs), PATIENCE)


@pytest.mark.parametrize("name", [kind.name for kind in (*KINDS, THREADS)])
def test_commands_are_obeyed(
    name: str, workers: dict[str, ForeignWorker], brokers: Brokers
) -> None:
    worker = workers[name]
    stage = ready(worker, brokers)
    identity = f"*.{worker.name}"
    assert "takes no jobs" in worker.beanwatch("workers", "wait", identity)
    wait_until(lambda: "waiting" in worker.beanwatch("workers", "list"), PATIENCE)
    job = worker.put("quick")
    assert "Thread" in worker.beanwatch("workers", "dump", identity)
    assert worker.ends(job) == []
    worker.beanwatch("workers", "resume", identity)
    wait_until(lambda: worker.ends(job) == ["ok"], PATIENCE)
    pids = {one.heartbeat.instance for one in stage.records.read(worker.name) if one.heartbeat}
    assert "restarts" in worker.beanwatch("workers", "restart", identity)

    def is_new() -> bool:
        found = {one.heartbeat.instance for one in stage.records.read(worker.name) if one.heartbeat}
        return bool(found) and not found & pids

    wait_until(is_new, PATIENCE)
    stage.become_idle()
    assert "stops" in worker.beanwatch("workers", "stop", identity)
    assert worker.wait(PATIENCE) == 0
    assert stage.health() == "gone"
    worker.start()


@pytest.mark.parametrize("kind", [*KINDS, THREADS], ids=str)
def test_a_worker_that_stops_after_a_long_job_is_not_hung(kind: Kind, brokers: Brokers) -> None:
    with brokers.make_worker(kind, MAX_IDLE="2") as worker:
        stage = ready(worker, brokers)
        worker.put("busy", str(end := worker.file()), soft_time_limit=600)
        wait_until(lambda: stage.health() == "busy", PATIENCE)

        def stopping_at() -> float:
            beats = [one.heartbeat for one in stage.records.read(worker.name)]
            return max((one.beat_at for one in beats if one and one.state == "stopping"), default=0)

        worker.terminate()
        began = wait_until(stopping_at, PATIENCE)
        wait_until(lambda: stopping_at() > began + 5, PATIENCE)
        assert stage.health() == "stopping"
        end.touch()
        assert worker.wait(PATIENCE) == 0


def test_a_job_that_celery_cancels_after_the_loss_of_its_broker_is_told_as_retried(
    brokers: Brokers,
) -> None:
    options = json.dumps({"worker_cancel_long_running_tasks_on_connection_loss": True})
    with brokers.make_worker(celery("5", "prefork", "rabbitmq"), OPTIONS=options) as worker:
        stage = ready(worker, brokers)
        job = worker.put("late", str(end := worker.file()), soft_time_limit=600)
        wait_until(lambda: stage.health() == "busy", PATIENCE)
        worker.proxy.refuse()
        wait_until(lambda: "Terminating it" in worker.log.read_text(), PATIENCE)
        worker.proxy.restore()
        wait_until(lambda: worker.ends(job), PATIENCE)
        end.touch()
        wait_until(lambda: worker.ends(job)[-1] == "ok", PATIENCE)
        assert worker.ends(job) == ["retry: cancelled by Celery", "ok"]


def test_a_job_that_celery_retries_after_the_loss_of_its_process_is_told_as_such(
    brokers: Brokers,
) -> None:
    options = json.dumps({"task_retry_on_worker_lost": True})
    with brokers.make_worker(celery("5", "prefork", "redis"), OPTIONS=options) as worker:
        job = worker.put("die")
        wait_until(lambda: worker.ends(job), PATIENCE)
        (end,) = worker.ends(job)
        assert end.startswith("retry: its process was lost")


def test_a_worker_that_ends_without_being_told_to_leaves_its_record(brokers: Brokers) -> None:
    with brokers.make_worker(THREADS) as worker:
        stage = ready(worker, brokers)
        worker.put("give_up")
        worker.wait(PATIENCE)
        (found,) = stage.records.read(worker.name)
        assert found.heartbeat is not None
        assert found.heartbeat.last_words == "Celery ended without being told to, see its log"
