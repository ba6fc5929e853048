"""Dramatiq 1 and 2: what beanwatch says of their jobs, and which commands they obey."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.adapters.brokers import Brokers
from tests.adapters.kinds import DRAMATIQ, dramatiq
from tests.adapters.situations import Stage
from tests.adapters.workers import ForeignWorker, Kind, Records
from tests.real import wait_until

PATIENCE = 120.0  # seconds, on a machine that is busy with other tests
BROKERS = {"1": "rabbitmq", "2": "redis"}


def two_processes(kind: Kind) -> Kind:
    return kind._replace(command=[part.replace("1", "2") for part in kind.command])


@pytest.fixture(scope="module")
def workers(brokers: Brokers) -> Iterator[dict[str, ForeignWorker]]:
    """A worker of each version, started together."""
    with ExitStack() as stack:
        yield {
            version: stack.enter_context(brokers.make_worker(dramatiq(version, BROKERS[version])))
            for version in DRAMATIQ
        }


@pytest.fixture(params=DRAMATIQ)
def worker(
    request: pytest.FixtureRequest, workers: dict[str, ForeignWorker], brokers: Brokers
) -> ForeignWorker:
    found = workers[request.param]
    Stage(found, Records(brokers.own.url), brokers.own.url).become_idle()
    return found


def test_each_run_is_reported_with_the_id_and_the_outcome_that_dramatiq_gives_it(
    worker: ForeignWorker,
) -> None:
    done, failed, again = worker.put("quick", 7), worker.put("fail"), worker.put("again")
    late = worker.put("busy", str(worker.file()), time_limit=1000)
    old, unknown = worker.put("quick", 8, max_age=1), worker.put("unknown", "shop.missing")
    jobs = (done, failed, again, late, old, unknown)
    wait_until(lambda: all(map(worker.ends, jobs)) and len(worker.ends(again)) == 2, PATIENCE)
    assert worker.ends(done) == ["ok"]
    assert worker.ends(failed) == ["buried: RuntimeError: the printer is on fire"]
    busy = "RuntimeError: the printer is busy"
    assert worker.ends(again) == [f"retry: {busy}", f"buried: {busy}"]
    assert worker.ends(late) == ["timeout: TimeLimitExceeded"]
    (end,) = worker.ends(old)
    assert end.startswith("buried: skipped")
    assert worker.ends(unknown) == ["invalid: no actor 'shop.missing'"]
    assert [run["attempt"] for run in worker.runs() if run["job_id"] == again] == [1, 2]
    (run,) = [run for run in worker.runs() if run["job_id"] == failed]
    assert (run["job"], run["queue"], run["kind"]) == ("fail", "mail", "dramatiq")
    assert failed in worker.beanwatch("job", failed)


def test_threads_run_several_jobs_at_a_time(worker: ForeignWorker, brokers: Brokers) -> None:
    end = worker.file()
    jobs = {worker.put("busy", str(end), time_limit=600_000) for _ in range(2)}
    records = Records(brokers.own.url)

    def lines() -> dict[str, str]:
        (found,) = records.read(worker.name)
        assert found.heartbeat is not None
        return {job.id: job.where for job in found.heartbeat.jobs}

    wait_until(lambda: set(lines()) == jobs, PATIENCE)
    wait_until(lambda: all(line.endswith(" busy") for line in lines().values()), PATIENCE)
    end.touch()
    wait_until(lambda: all(worker.ends(job) == ["ok"] for job in jobs), PATIENCE)


def test_commands_are_obeyed(worker: ForeignWorker, brokers: Brokers) -> None:
    stage = Stage(worker, Records(brokers.own.url), brokers.own.url)
    identity = f"*.{worker.name}-*"
    assert "takes no jobs" in worker.beanwatch("workers", "wait", identity)
    wait_until(lambda: stage.health() == "waiting", PATIENCE)
    wait_until(lambda: "Thread" in worker.beanwatch("workers", "dump", identity), PATIENCE)
    worker.beanwatch("workers", "resume", identity)
    job = worker.put("quick")
    wait_until(lambda: worker.ends(job) == ["ok"], PATIENCE)
    instances = {one.heartbeat.instance for one in stage.records.read(worker.name) if one.heartbeat}
    assert "restarts" in worker.beanwatch("workers", "restart", identity)

    def is_new() -> bool:
        read = stage.records.read(worker.name)
        found = {one.heartbeat.instance for one in read if one.heartbeat}
        return bool(found) and not found & instances

    wait_until(is_new, PATIENCE)
    stage.become_idle()
    assert "stops" in worker.beanwatch("workers", "stop", identity)
    assert worker.wait(PATIENCE) == 0
    assert stage.health() == "gone"
    worker.start()


def test_processes_that_are_told_to_stop_together_finish_their_jobs(brokers: Brokers) -> None:
    with brokers.make_worker(two_processes(dramatiq("2", "redis"))) as worker:
        stage = Stage(worker, Records(brokers.own.url), brokers.own.url)
        wait_until(lambda: len(stage.records.read(worker.name)) == 2, PATIENCE)
        stage.become_idle()
        end = worker.file()
        jobs = [worker.put("busy", str(end), time_limit=600_000) for _ in range(2)]

        def running() -> int:
            found = stage.records.read(worker.name)
            return sum(len(one.heartbeat.jobs) for one in found if one.heartbeat is not None)

        wait_until(lambda: running() == 2, PATIENCE)
        answer = worker.beanwatch("workers", "stop", f"*.{worker.name}-*")
        assert answer.count("all processes") == 2
        end.touch()
        assert worker.wait(PATIENCE) == 0
        assert [worker.ends(job) for job in jobs] == [["ok"]] * 2


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_a_job_runs_once_though_its_process_is_told_to_wait(broker: str, brokers: Brokers) -> None:
    # Redis gives the jobs of a process to others if that sends nothing for so many milliseconds.
    options = json.dumps({"heartbeat_timeout": 10_000, "maintenance_chance": 1_000_000})
    kind = two_processes(dramatiq("2", broker))
    with brokers.make_worker(kind, BROKER_OPTIONS=options) as worker:
        stage = Stage(worker, Records(brokers.own.url), brokers.own.url)
        wait_until(lambda: len(stage.records.read(worker.name)) == 2, PATIENCE)
        stage.become_idle()
        job = worker.put("busy", str(end := worker.file()), time_limit=600_000)

        def running() -> dict[str, float]:
            beats = {one.id: one.heartbeat for one in stage.records.read(worker.name)}
            return {name: beat.beat_at for name, beat in beats.items() if beat and beat.jobs}

        wait_until(running, PATIENCE)
        ((busy, began),) = running().items()
        assert "takes no jobs" in worker.beanwatch("workers", "wait", busy)
        wait_until(lambda: running()[busy] > began + 15, PATIENCE)
        assert list(running()) == [busy]
        end.touch()
        wait_until(lambda: stage.health() == "waiting", PATIENCE)
        worker.beanwatch("workers", "resume", busy)
        stage.become_idle()
        assert worker.ends(job) == ["ok"]
