"""A small fleet that a real Prometheus scrapes, with an Alertmanager that sends to a sink."""

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any, Self

from beanwatch.outcomes import NAMES
from beanwatch.telemetry.prometheus import labels
from tests.real import (
    ROOT,
    Beanstalkd,
    HttpSink,
    Redis,
    free_port,
    spawn,
    stop_process,
)
from tests.real.prometheus import Alertmanager, MetricsPage, Prometheus
from tests.real.shipped_rules import configure_alertmanager, configure_prometheus, read_rules

BEANWATCH = ROOT / ".venv" / "bin" / "beanwatch"
CONFIG = """\
[servers]
q1 = "{server}"

[redis]
url = "{redis}"

[collect]
interval = "500ms"
queues_interval = "500ms"

[worker]
ledger = "off"
"""
QUEUE, JOB = "email.regular", "email.send"


class ScrapedFleet:
    """A context manager: a server, a worker, a collector, Prometheus and Alertmanager.

    The configurations are the shipped examples, and the rules the shipped ones, with other
    addresses and shorter times. `sink` gets the alerts, at a path with the name of the receiver.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = Beanstalkd(directory / "q1", binlog=True)
        self.redis = Redis(directory / "redis")
        self.sink = HttpSink()
        self.port, self.worker_port = free_port(), free_port()
        self._stack = contextlib.ExitStack()
        self._config = directory / "beanwatch.toml"
        self._worker: subprocess.Popen[bytes] | None = None

    @property
    def page(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        try:
            enter(self.server)
            enter(self.redis)
            enter(self.sink)
            text = CONFIG.format(server=self.server.address, redis=self.redis.url)
            self._config.write_text(text)
            argv: list[str | Path] = [BEANWATCH, "collect", "--config", self._config]
            argv += ["--listen", self.page]
            self._stack.callback(stop_process, spawn(argv, log=self.directory / "collector.log"))
            self._stack.callback(self.stop_worker)
            self.start_worker()
            rules = self.directory / "beanwatch.rules.yml"
            rules.write_text(read_rules({r"(interval|for|keep_firing_for): \d+m": r"\1: 1s"}))
            routes = configure_alertmanager(self.sink.url)
            alertmanager = enter(Alertmanager(self.directory / "alertmanager", routes))
            pages = [self.page, f"127.0.0.1:{self.worker_port}", enter(MetricsPage(runs)).address]
            scrape = configure_prometheus(rules, alertmanager.address, pages)
            self.prometheus = enter(Prometheus(self.directory / "prometheus", scrape))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start_worker(self) -> None:
        argv: list[str | Path] = [BEANWATCH, "worker", "beanwatch.worker.example:app"]
        argv += ["--config", self._config, "--name", "mail-1", "--host", "web1", "--queue", QUEUE]
        argv += ["--listen", f"127.0.0.1:{self.worker_port}"]
        self._worker = spawn(argv, log=self.directory / "worker.log")

    def kill_worker(self) -> None:
        if self._worker:
            self._worker.kill()
            self._worker.wait()

    def stop_worker(self) -> None:
        if self._worker:
            stop_process(self._worker)

    def put(self, queue: str, count: int = 1, **data: Any) -> None:
        with self.server.client() as client:
            client.use(queue)
            for _ in range(count):
                client.put(json.dumps({"job": JOB, "data": data}))

    def refill(self, queue: str, count: int) -> None:
        """Put jobs into the queue if all were taken, so that it grows and shrinks."""
        with self.server.client(use=queue) as client:
            is_empty = client.stats_tube(queue)["current-jobs-ready"] == 0
        if is_empty:
            self.put(queue, count)

    def alerts(self, status: str) -> set[tuple[str, str]]:
        """The receivers and names of the alerts that were sent with this status."""
        return {
            (request.path.strip("/"), alert["labels"]["alertname"])
            for request in self.sink.requests
            for alert in request.json()["alerts"]
            if alert["status"] == status
        }


def runs(scrapes: int) -> str:
    """Runs of jobs with every outcome, until the collector's own page has them."""
    own = labels(server="q1", queue=QUEUE, job=JOB)
    counts = "".join(
        f'beanwatch_fleet_job_runs_total{{{own},outcome="{name}"}} {scrapes}\n' for name in NAMES
    )
    buckets = "".join(
        f'beanwatch_fleet_job_duration_seconds_bucket{{{own},le="{bound}"}} {scrapes}\n'
        for bound in ("0.5", "1.0", "+Inf")
    )
    return counts + buckets
