"""The collector's sums of all workers' runs, and the workers that a queue needs."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from beanwatch.store.run_totals import summarize
from beanwatch.store.workers_needed import BUSY_SHARE, workers_needed
from tests.real import Beanstalkd, Redis, free_port, spawn, stop_process, wait_until
from tests.worker_core.conftest import Broker, RunningWorker, StartWorker

BEANWATCH = str(Path(sys.executable).parent / "beanwatch")


class Scraped:
    """A real collector that is scraped."""

    def __init__(self, port: int) -> None:
        self.port = port

    def samples(self, name: str, **labels: str) -> list[float]:
        """The values of all samples of this name with these labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as reply:
            families = list(text_string_to_metric_families(reply.read().decode()))
        return [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"beanwatch_{name}" and labels.items() <= sample.labels.items()
        ]

    def runs(self, outcome: str = "ok", job: str = "ok") -> float:
        return sum(self.samples("fleet_job_runs_total", outcome=outcome, job=job, server="q1"))


@pytest.fixture
def collect(
    beanstalkd: Beanstalkd, redis_server: Redis, tmp_path: Path
) -> Iterator[Callable[[], Scraped]]:
    running = []

    def start() -> Scraped:
        while running:
            stop_process(running.pop())
        port = free_port()
        config = tmp_path / "collect.toml"
        config.write_text(
            f'[servers]\nq1 = "{beanstalkd.address}"\n[redis]\nurl = "{redis_server.url}"\n'
            f'[collect]\ninterval = "200ms"\nlisten = "{port}"\n'
        )
        argv = [BEANWATCH, "collect", "--config", str(config)]
        running.append(spawn(argv, log=tmp_path / "collect.log", cwd=tmp_path))
        found = Scraped(port)
        wait_until(lambda: _is_ready(port), 60)
        return found

    yield start
    for process in running:
        stop_process(process)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def has_run(worker: RunningWorker, number: int) -> bool:
    """True once the worker's record says that so many runs have ended."""
    return sum(sum(one.outcomes.values()) for one in worker.beat().totals or ()) == number


def test_runs_of_all_workers_add_up_over_kills_restarts_and_a_new_collector(
    start_worker: StartWorker, broker: Broker, collect: Callable[[], Scraped]
) -> None:
    seen = collect()
    workers = [start_worker(name=name) for name in ("w1", "w2")]
    for worker in workers:
        worker.wait_for("idle", 60)
    for _ in range(20):
        broker.put("ok")
    for _ in range(2):
        broker.put("raise", {"kind": "bury"})
    wait_until(lambda: (seen.runs(), seen.runs("buried", "raise")) == (20, 2), 60)
    buckets = seen.samples("fleet_job_duration_seconds_bucket", job="ok", le="+Inf")
    assert buckets == seen.samples("fleet_job_duration_seconds_count", job="ok") == [20]
    workers[0].process.kill()
    workers[1].signal(signal.SIGTERM)
    assert workers[1].exit_code() == 0
    assert seen.runs() == 20
    again = start_worker(name="w2")
    again.wait_for("idle", 60)
    for _ in range(5):
        broker.put("ok")
    wait_until(lambda: seen.runs() == 25, 60)
    seen = collect()
    wait_until(lambda: bool(seen.samples("fleet_job_runs_total", job="ok", outcome="ok")))
    assert seen.runs() == 0, "earlier runs are not counted as new ones"
    broker.put("ok")
    wait_until(lambda: seen.runs() == 1, 60)
    assert not [
        name for name in ("worker", "host") if seen.samples("fleet_job_runs_total", **{name: ""})
    ]


def test_a_worker_that_lives_shortly_goes_on_counting_where_the_last_one_ended(
    start_worker: StartWorker, broker: Broker
) -> None:
    for _ in range(8):
        broker.put("ok")
    first = ""
    for ended in (2, 4):
        worker = start_worker("--max-jobs", 2)
        assert worker.exit_code(60) == 10
        if not first:
            first = worker.runs()[0]["instance"]
        assert len(worker.outcomes("ok")) == ended
    worker = start_worker()
    wait_until(lambda: has_run(worker, 8), 60)
    beat = worker.beat()
    assert beat.totals_of == first != beat.instance
    worker.process.kill()
    worker.process.wait()
    broker.put("ok")
    worker = start_worker()
    wait_until(lambda: has_run(worker, 9), 60)
    assert worker.beat().totals_of == first
    assert worker.stop() == 0
    broker.put("ok")
    worker = start_worker(name="w2")
    wait_until(lambda: has_run(worker, 1), 60)
    assert worker.stop() == 0
    worker = start_worker(name="w2")
    worker.wait_for("idle", 60)
    assert (worker.beat().totals, worker.beat().totals_of) == ((), ""), "a stop ends the count"


def test_top_shows_how_many_workers_each_queue_needs(
    start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd, redis_server: Redis
) -> None:
    worker = start_worker()
    for _ in range(3):
        broker.put("sleep", {"seconds": 0.1})
    broker.put("ok", queue="other")
    wait_until(lambda: has_run(worker, 3), 60)
    argv = [BEANWATCH, "top", "--server", beanstalkd.address, "--redis", redis_server.url]
    done = subprocess.run([*argv, "--json"], capture_output=True, text=True, timeout=60)
    rows = {row["queue"]: row for row in json.loads(done.stdout)["queues"]}
    assert rows["work"]["workers_needed"] == 0
    assert rows["other"]["workers_needed"] is None, "nobody has run its jobs"
    done = subprocess.run([*argv, "--once"], capture_output=True, text=True, timeout=60)
    assert " NEED " in done.stdout


TARGET = 6.0  # seconds
RUN = 0.25  # seconds
BACKLOG = 60


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_that_many_workers_drain_a_backlog_in_time_and_fewer_than_half_do_not(
    start_worker: StartWorker, broker: Broker, collect: Callable[[], Scraped], share: float
) -> None:
    first = start_worker(name="w0")
    first.wait_for("idle", 60)
    for _ in range(4):
        broker.put("sleep", {"seconds": RUN})
    wait_until(lambda: has_run(first, 4), 60)
    runs = summarize(first.beat().totals or ())
    assert runs is not None
    assert RUN <= runs.mean_run < RUN * 1.5
    needed = workers_needed(runs, BACKLOG, 0.0, target=TARGET)
    assert needed is not None
    number = max(1, round(needed * share))
    workers = [first, *(start_worker(name=f"w{n}") for n in range(1, number))]
    for worker in workers:
        worker.wait_for("idle", 60)
    seen = collect()
    for _ in range(BACKLOG):
        broker.put("sleep", {"seconds": RUN})
    ready = [broker.stats()["ready"]]

    def is_drained() -> bool:
        ready.append(broker.stats()["ready"])
        return not any(broker.stats().values())

    if share == 1:
        assert pytest.approx(needed, rel=0.5) == BACKLOG * RUN / TARGET / BUSY_SHARE
        wait_until(is_drained, TARGET)
        (told,) = seen.samples("queue_workers_needed", queue="work")
        assert told >= 0
    else:
        with pytest.raises(AssertionError):
            wait_until(is_drained, TARGET)
