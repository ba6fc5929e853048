"""Jobs of each framework wherever jobs are shown: commands, metrics, log; by their own ids."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.adapters.brokers import Brokers
from tests.adapters.kinds import celery, dramatiq, rq
from tests.adapters.workers import BIN, ForeignWorker
from tests.real import free_port, spawn, stop_process, wait_until
from tests.real.sinks import LineSink

PATIENCE = 120.0  # seconds, on a machine that is busy with other tests
KINDS = {
    "rq": rq("3", "fork"),
    "celery": celery("5", "prefork", "redis"),
    "dramatiq": dramatiq("2", "redis"),
}
GIVEN_UP = {"rq": "buried", "celery": "failed", "dramatiq": "buried"}  # the outcomes
FIRE = "RuntimeError: the printer is on fire"


class Played(NamedTuple):
    """A worker with a Redis database of its own, and the ids of three jobs."""

    worker: ForeignWorker
    redis: str
    done: str
    failed: str
    running: str
    end: Path  # the running job ends once it exists

    @property
    def kind(self) -> str:
        return self.worker.kind.command[0]

    @property
    def prefix(self) -> str:
        """What stands before the names of its jobs: RQ has the module in them."""
        return "tasks." if self.kind == "rq" else ""


@pytest.fixture(scope="module")
def sink() -> Iterator[LineSink]:
    with LineSink() as server:
        yield server


@pytest.fixture(scope="module")
def all_played(brokers: Brokers, sink: LineSink) -> Iterator[dict[str, Played]]:
    with ExitStack() as stack:
        workers = {}
        for number, (name, kind) in enumerate(KINDS.items(), 1):
            url = f"redis://127.0.0.1:{brokers.own.port}/{number}"
            metrics = f"graphite://{sink.address}"
            settings = {"BEANWATCH_REDIS_URL": url, "BEANWATCH_WORKER_METRICS": metrics}
            workers[name] = stack.enter_context(brokers.make_worker(kind, **settings)), url
        found = {}
        for name, (worker, url) in workers.items():
            jobs = worker.put("quick", 7), worker.put("fail")
            wait_until(lambda w=worker, ids=jobs: all(map(w.ends, ids)), PATIENCE)
            end = worker.file()
            running = worker.put_limited("busy", str(end), seconds=3600)
            found[name] = Played(worker, url, *jobs, running, end)
        yield found


@pytest.fixture(params=KINDS)
def played(request: pytest.FixtureRequest, all_played: dict[str, Played]) -> Played:
    return all_played[request.param]


def test_a_running_job_is_among_the_workers_and_can_be_looked_up(played: Played) -> None:
    def jobs() -> dict[str, str]:
        workers = json.loads(played.worker.beanwatch("workers", "list", "--json"))
        return {job["id"]: job["name"] for worker in workers for job in worker["jobs"]}

    wait_until(lambda: jobs() == {played.running: f"{played.prefix}busy"}, PATIENCE)
    table = played.worker.beanwatch("workers", "list")
    assert f"{played.prefix}busy" in table
    told = played.worker.beanwatch("job", played.running)
    assert "it is being run" in told
    assert f".{played.worker.name}" in told
    assert "cannot look up" not in told, "beanstalkd is not asked for it"


def test_a_failed_job_is_among_the_failures_and_can_be_looked_up(played: Played) -> None:
    (group,) = json.loads(played.worker.beanwatch("failures", "list", "--json"))
    assert (group["queue"], group["job"], group["reason"]) == (
        "mail", f"{played.prefix}fail", FIRE,
    )  # fmt: skip
    assert group["outcomes"] == {GIVEN_UP[played.kind]: 1}
    shown = played.worker.beanwatch("failures", "show", group["last"])
    assert played.failed in shown
    assert "in fail\n" in shown
    told = played.worker.beanwatch("job", played.failed)
    assert told.startswith(f"{played.prefix}fail {played.failed} in mail\n")
    assert f"  {GIVEN_UP[played.kind]} " in told
    assert f"{FIRE}\n" in told
    assert "cannot look up" not in told


def test_its_log_line_has_its_id(played: Played) -> None:
    runs = {run["job_id"]: run for run in played.worker.runs()}
    for job, name, outcome in (
        (played.done, "quick", "ok"),
        (played.failed, "fail", GIVEN_UP[played.kind]),
    ):
        run = runs[job]
        assert (run["job"], run["outcome"], run["kind"], run["queue"]) == (
            f"{played.prefix}{name}", outcome, played.kind, "mail",
        )  # fmt: skip


def test_graphite_has_its_runs(played: Played, sink: LineSink) -> None:
    prefix = played.prefix.replace(".", "_")
    for job, outcome in (("quick", "ok"), ("fail", GIVEN_UP[played.kind])):
        path = f"beanwatch.job.{played.kind}.mail.{prefix}{job}."
        parts = path, f"_{played.worker.name}", f".{outcome}.count 1 "
        wait_until(
            lambda parts=parts: any(all(part in line for part in parts) for line in sink.lines),
            PATIENCE,
        )


def test_prometheus_has_its_runs(played: Played) -> None:
    port = free_port()
    command = [BIN / "beanwatch", "collect", "--listen", str(port), "--redis", played.redis]
    log = played.worker.directory / "collect.log"
    collector = spawn([*command, "--interval", "1s"], log=log, env={"BEANWATCH_CONFIG": ""})

    def runs() -> float | None:
        """Those that have ended since the collector began; None before it has read any."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            families = parse(page.read().decode())
        labels = {"queue": "mail", "job": f"{played.prefix}quick", "outcome": "ok"}
        for sample in (sample for family in families for sample in family.samples):
            is_ours = labels.items() <= sample.labels.items()
            if is_ours and sample.name == "beanwatch_fleet_job_runs_total":
                return sample.value
        return None

    try:
        wait_until(lambda: runs() == 0, PATIENCE)
        played.end.touch()  # RQ runs one job at a time
        played.worker.put("quick", 8)
        wait_until(lambda: runs() == 1, PATIENCE)
    finally:
        stop_process(collector)
