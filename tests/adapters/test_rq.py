"""RQ 2.0 and the newest RQ: what beanwatch says of their jobs, and which commands they obey."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from beanwatch.net.redis_url import parse_redis_url
from beanwatch.worker.control.client import Target, send_command
from tests.adapters.brokers import Brokers
from tests.adapters.kinds import rq
from tests.adapters.situations import Stage
from tests.adapters.workers import VENVS, ForeignWorker, Records
from tests.real import ROOT, wait_until

PATIENCE = 120.0  # seconds, on a machine that is busy with other tests
VERSIONS = ("2", "3")


@pytest.fixture(scope="module")
def workers(brokers: Brokers) -> Iterator[dict[str, ForeignWorker]]:
    """A forking and a simple worker of each version, started together."""
    kinds = [rq(version, way) for version in VERSIONS for way in ("fork", "simple")]
    with ExitStack() as stack:
        yield {kind.name: stack.enter_context(brokers.make_worker(kind)) for kind in kinds}


@pytest.fixture(params=[f"rq{version}-{way}" for version in VERSIONS for way in ("fork", "simple")])
def worker(
    request: pytest.FixtureRequest, workers: dict[str, ForeignWorker], brokers: Brokers
) -> ForeignWorker:
    found = workers[request.param]
    Stage(found, Records(brokers.own.url), brokers.own.url).become_idle()
    return found


def test_each_run_is_reported_with_the_id_and_the_outcome_that_rq_gives_it(
    worker: ForeignWorker,
) -> None:
    done, failed = worker.put("quick", 7), worker.put("fail")
    again = worker.put("fail", retry={"max": 1})
    late = worker.put("busy", str(worker.file()), job_timeout=1)
    wait_until(lambda: worker.ends(late) and len(worker.ends(again)) == 2, PATIENCE)
    fire = "RuntimeError: the printer is on fire"
    assert worker.ends(done) == ["ok"]
    assert worker.ends(failed) == [f"buried: {fire}"]
    assert worker.ends(again) == [f"retry: {fire}", f"buried: {fire}"]
    (end,) = worker.ends(late)
    assert end.startswith("timeout: JobTimeoutException")
    (run,) = [run for run in worker.runs() if run["job_id"] == failed]
    assert (run["job"], run["queue"], run["kind"]) == ("tasks.fail", "mail", "rq")
    assert "in fail\n" in run["traceback"]
    assert failed in worker.beanwatch("job", failed)


@pytest.mark.parametrize("way", ["fork", "simple"])
def test_a_job_that_repeats_is_no_failure(workers: dict[str, ForeignWorker], way: str) -> None:
    worker = workers[f"rq3-{way}"]  # RQ 2.0 repeats none
    job = worker.put("quick", repeat={"times": 1})
    wait_until(lambda: len(worker.ends(job)) == 2, PATIENCE)
    assert worker.ends(job) == ["ok", "ok"]


def test_a_running_job_is_shown_with_its_line(worker: ForeignWorker, brokers: Brokers) -> None:
    end = worker.file()
    job = worker.put("busy", str(end), job_timeout=600)
    records = Records(brokers.own.url)

    def line() -> str:
        (found,) = records.read(worker.name)
        assert found.heartbeat is not None
        return "".join(one.where for one in found.heartbeat.jobs if one.id == job)

    wait_until(lambda: line().endswith(" busy"), PATIENCE)
    shown = worker.beanwatch("workers", "list")
    end.touch()
    assert "tasks.busy" in shown
    wait_until(lambda: worker.ends(job) == ["ok"], PATIENCE)


def test_commands_are_obeyed_or_refused_at_once(worker: ForeignWorker, brokers: Brokers) -> None:
    identity = f"*.{worker.name}-*"
    assert "cannot restart" in worker.beanwatch("workers", "restart", identity)
    assert "takes no jobs" in worker.beanwatch("workers", "wait", identity)
    stage = Stage(worker, Records(brokers.own.url), brokers.own.url)
    wait_until(lambda: stage.health() == "waiting", PATIENCE)
    job = worker.put("quick")
    assert "in busy\n" not in worker.beanwatch("workers", "dump", identity)
    assert worker.ends(job) == []
    worker.beanwatch("workers", "resume", identity)
    wait_until(lambda: worker.ends(job) == ["ok"], PATIENCE)


def test_a_worker_that_is_suspended_during_a_job_waits_after_it(
    worker: ForeignWorker, brokers: Brokers
) -> None:
    stage = Stage(worker, Records(brokers.own.url), brokers.own.url)
    worker.put("busy", str(end := worker.file()), job_timeout=600)
    wait_until(lambda: stage.health() == "busy", PATIENCE)
    worker.put("suspend")
    end.touch()
    wait_until(lambda: stage.health() == "waiting", PATIENCE)
    (found,) = stage.records.read(worker.name)
    assert found.heartbeat is not None
    assert found.heartbeat.reason == "it was suspended by `rq suspend`"
    worker.put("resume")
    stage.become_idle()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_killed_work_horse_is_told_with_its_job(
    workers: dict[str, ForeignWorker], version: str
) -> None:
    worker = workers[f"rq{version}-fork"]
    reason = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9)"
    killed = worker.put("die")
    wait_until(lambda: worker.ends(killed), PATIENCE)
    assert worker.ends(killed) == [f"buried: {reason}"]
    if version == "2":
        return  # RQ 2.0.0 has a bug that ends the worker if this happens to a job's second run
    again = worker.put("die", retry={"max": 1})
    wait_until(lambda: len(worker.ends(again)) == 2, PATIENCE)
    assert worker.ends(again) == [f"retry: {reason}", f"buried: {reason}"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_work_horse_that_leaves_without_a_word_has_done_no_job(
    workers: dict[str, ForeignWorker], version: str
) -> None:
    worker = workers[f"rq{version}-fork"]
    left = worker.put("leave")
    wait_until(lambda: worker.ends(left), PATIENCE)
    assert worker.ends(left) == [
        "buried: its process ended without saying how, and RQ still says: started"
    ]
    if version == "2":
        return  # RQ 2.0.0 ends its worker if a job is gone
    gone = worker.put("vanish")
    wait_until(lambda: worker.ends(gone), PATIENCE)
    (end,) = worker.ends(gone)
    assert end.startswith("failed: its end is not known: ")
    done = worker.put("quick")
    wait_until(lambda: worker.ends(done) == ["ok"], PATIENCE)


def test_the_command_stop_ends_the_worker_after_its_job_however_often_it_is_sent(
    worker: ForeignWorker, brokers: Brokers
) -> None:
    end = worker.file()
    job = worker.put("busy", str(end), job_timeout=600)
    stage = Stage(worker, Records(brokers.own.url), brokers.own.url)
    wait_until(lambda: stage.health() == "busy", PATIENCE)
    (found,) = stage.records.read(worker.name)
    assert found.heartbeat is not None
    target = Target(found.id, parse_redis_url(brokers.own.url), found.heartbeat.instance)

    def stop(_: int) -> str:
        (result,) = send_command([target], "stop", timeout=PATIENCE)
        return result.answer.text if result.answer else result.problem

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(stop, range(2)))
    assert answers == ["stops after the running job", "stops already"]
    end.touch()
    assert worker.wait(PATIENCE) == 0
    assert worker.ends(job) == ["ok"]
    worker.start()


MONITOR = "beanwatch.worker:WorkerMonitor"
SINK = "beanwatch.worker.monitor.sinks.log_sink:LogSink"


@pytest.mark.parametrize(
    ("version", "put", "call"),
    [
        (version, *found)
        for version in VERSIONS
        for found in (
            ("quick", f"{MONITOR} begin"),
            ("quick", f"{SINK} on_finished"),
            ("suspend", f"{MONITOR} paused"),
        )
    ],
)
def test_a_signal_that_arrives_while_a_job_is_reported_ends_the_worker(
    version: str, put: str, call: str, brokers: Brokers
) -> None:
    with brokers.make_worker(rq(version, "fork"), STOP_IN=call) as worker:
        Stage(worker, Records(brokers.own.url), brokers.own.url).become_idle()
        worker.put(put)
        assert worker.wait(PATIENCE) == 0


def test_jobs_run_though_beanwatch_cannot_be_set_up(brokers: Brokers) -> None:
    broken = {"BEANWATCH_WORKER_HEARTBEAT_INTERVAL": "soon"}
    with brokers.make_worker(rq("3", "fork"), **broken) as worker:
        first, last = worker.put("fail"), worker.put("busy", str(end := worker.file()))
        wait_until(lambda: first in worker.log.read_text(), PATIENCE)
        wait_until(lambda: last in worker.log.read_text(), PATIENCE)
        end.touch()
        wait_until(lambda: f"Job OK ({last})" in worker.log.read_text(), PATIENCE)
        assert "beanwatch" in worker.log.read_text()
        assert worker.runs() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_second_stop_sends_no_signal_though_the_first_ones_is_not_handled_yet(
    version: str,
) -> None:
    code = """if True:
        import signal
        from beanwatch.worker.adapters.rq import Worker
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        worker = object.__new__(Worker)
        for _ in range(2):
            print(worker._obey_stop(None))
        """
    done = subprocess.run(
        [VENVS / f"rq-{version}" / "bin" / "python", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == ("stops after the running job\nstops already\n", "")
