"""A small fleet at work: two servers, several workers, a collector, and every kind of trouble.

Everything is real: the dashboards and the alert rules get what was measured here.
"""

import contextlib
import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import greenstalk

from tests.real import (
    ROOT,
    Beanstalkd,
    Graphite,
    Redis,
    StatsD,
    spawn,
    stop_process,
)

BEANWATCH = ROOT / ".venv" / "bin" / "beanwatch"
AGGREGATION = ROOT / "collectors" / "graphite" / "storage-aggregation.conf"
STATSD_CONFIG = ROOT / "worker" / "statsd" / "beanwatch.js"
FOREIGN_STATSD = """\
{flushInterval: 10000, percentThreshold: [50, 95, 99], graphite: {legacyNamespace: false}}
"""
SCHEMAS = """\
[all]
pattern = .*
retentions = {step}s:1d
"""

CONFIG = """\
log_format = "console"
prefix = "{prefix}"

[servers]
q1 = "{q1}"
q2 = "{q2}"

[redis]
url = "{redis}"

[workers]
expected = [{{ glob = "app1.bulk-*", least = 1 }}]

[graphite]
address = "{carbon}"

[collect]
interval = {step}
queues_interval = {step}

[worker]
ledger = "off"
grace = 6
"""


class Job(NamedTuple):
    """A kind of job that a producer puts, `rate` a second; `fails` is the share that will fail."""

    server: str
    queue: str
    job: str
    rate: float
    fails: float = 0.0
    delay: int = 0
    seconds: float | None = None


# Dots and dashes, as real queues have them.
FLOW = (
    Job("q1", "email.priority", "email.send", 5),
    Job("q2", "email.priority", "email.send", 3),
    Job("q1", "email.regular", "email.send", 12, fails=0.006),
    Job("q2", "email.regular", "email.send", 7),
    Job("q1", "email.digest", "email.send", 0.5, delay=20),
    Job("q2", "images", "image.resize", 4, fails=0.01),
    Job("q2", "images.thumbs", "image.resize", 3, seconds=0.02),
    Job("q1", "reports", "report.build", 0.6),
    Job("q1", "search.index", "image.resize", 6, seconds=0.03),
    Job("q2", "sms.send", "email.send", 2, seconds=0.05),
)


class WorkerSpec(NamedTuple):
    """A worker to run.

    Its `metrics` go through StatsD as we ship it ("statsd"), through one with its own prefixes
    ("foreign"), or straight to Graphite ("graphite"). Only the last makes series of each worker.
    """

    name: str
    server: str
    queues: tuple[str, ...]
    host: str = "app1"
    metrics: str = "statsd"


WORKERS = (
    WorkerSpec("mail-1", "q1", ("email.priority", "email.regular", "email.digest")),
    WorkerSpec("mail-2", "q2", ("email.priority", "email.regular", "sms.send"), "app2"),
    WorkerSpec("bulk-1", "q1", ("email.bulk", "search.index")),
    WorkerSpec("images-1", "q2", ("images", "images.thumbs"), metrics="graphite"),
    WorkerSpec("images-2", "q2", ("images", "images.thumbs"), "app2", "graphite"),
    WorkerSpec("reports-1", "q1", ("reports",)),
)


class LiveFleet:
    """A context manager: everything runs inside it. `step` is the interval in seconds."""

    def __init__(
        self,
        directory: Path,
        *,
        step: int = 1,
        prefix: str = "beanwatch",
        workers: Sequence[WorkerSpec] = WORKERS,
    ) -> None:
        self.directory = directory
        self.step = step
        self.prefix = prefix
        self.workers = {worker.name: worker for worker in workers}
        self.servers = {
            "q1": Beanstalkd(directory / "q1", binlog=True),
            "q2": Beanstalkd(directory / "q2"),
        }
        self.redis = Redis(directory / "redis")
        self.graphite = Graphite(
            directory / "graphite",
            storage_schemas=SCHEMAS.format(step=step),
            storage_aggregation=AGGREGATION,
        )
        self._stack = contextlib.ExitStack()
        self._stop = threading.Event()
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._collector: subprocess.Popen[bytes] | None = None
        self._killed: set[str] = set()

    # -- the fleet

    def __enter__(self) -> Self:
        try:
            for server in self.servers.values():
                self._stack.enter_context(server)
            self._stack.enter_context(self.redis)
            self._stack.enter_context(self.graphite)
            self._metrics = {
                "statsd": self._start_statsd("statsd"),
                "graphite": f"graphite://{self.graphite.carbon}",
            }
            if any(worker.metrics == "foreign" for worker in self.workers.values()):
                self._metrics["foreign"] = self._start_statsd("foreign")
            self._config = self.directory / "beanwatch.toml"
            self._config.write_text(
                CONFIG.format(
                    q1=self.servers["q1"].address,
                    q2=self.servers["q2"].address,
                    redis=self.redis.url,
                    carbon=self.graphite.carbon,
                    step=self.step,
                    prefix=self.prefix,
                )
            )
            self._stack.callback(self._end)
            self.start_collector()
            for worker in self.workers.values():
                self.start_worker(worker)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        self._stop.set()
        processes = [*self._workers.values(), *filter(None, [self._collector])]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in processes:
            stop_process(process)

    def _start_statsd(self, name: str) -> str:
        """The shipped configuration, with our interval; or hardly any, as StatsD comes."""
        config = self.directory / f"{name}.js"
        text = STATSD_CONFIG.read_text() if name == "statsd" else FOREIGN_STATSD
        config.write_text(text.replace("flushInterval: 10000", f"flushInterval: {self.step}000"))
        statsd = StatsD(self.directory / name, self.graphite.carbon, config)
        return self._stack.enter_context(statsd).url

    def start_collector(self) -> None:
        argv: list[str | Path] = [BEANWATCH, "collect", "--config", self._config]
        self._collector = spawn(argv, log=self.directory / "collector.log")

    def stop_collector(self) -> None:
        if self._collector:
            stop_process(self._collector)

    def start_worker(self, worker: WorkerSpec) -> None:
        argv: list[str | Path] = [BEANWATCH, "worker", "beanwatch.worker.example:app"]
        argv += ["--config", self._config]
        argv += ["--server", worker.server, "--name", worker.name, "--host", worker.host]
        argv += ["--metrics", self._metrics[worker.metrics]]
        for queue in worker.queues:
            argv += ["--queue", queue]
        self._workers[worker.name] = spawn(argv, log=self.directory / f"{worker.name}.log")

    def keep_workers(self) -> None:
        """Start the workers again that ended, as a supervisor does. From the main thread only."""
        for name, worker in self.workers.items():
            if name not in self._killed and self._workers[name].poll() is not None:
                self.start_worker(worker)

    def kill_worker(self, name: str) -> None:
        """Kill a worker that `keep_workers` must not start again."""
        self._killed.add(name)
        self._workers[name].kill()

    # -- the jobs

    def put(self, server: str, queue: str, job: str, *, delay: int = 0, **data: Any) -> None:
        with self._client(server) as client:
            _put(client, queue, job, data, delay)

    def burst(self, server: str, queue: str, job: str, count: int, **data: Any) -> None:
        """Many at once."""
        with self._client(server) as client:
            for _ in range(count):
                _put(client, queue, job, data)

    def produce(self, jobs: Sequence[Job] = FLOW, flow: Callable[[], float] = lambda: 1.0) -> None:
        """Put jobs until the end, at their rates times what `flow` says."""
        for name in self.servers:
            here = [job for job in jobs if job.server == name]
            threading.Thread(target=self._produce, args=(name, here, flow), daemon=True).start()

    def _produce(self, server: str, jobs: list[Job], flow: Callable[[], float]) -> None:
        pause = 0.2
        while not self._stop.is_set():
            try:
                with self._client(server) as client:
                    while not self._stop.wait(pause):
                        for job in jobs:
                            for _ in range(_some(job.rate * flow() * pause)):
                                fails = random.random() < job.fails
                                data: dict[str, Any] = {"fail": True} if fails else {}
                                if job.seconds:
                                    data["seconds"] = job.seconds
                                _put(client, job.queue, job.job, data, job.delay)
            except (OSError, greenstalk.Error, AssertionError, ValueError):
                self._stop.wait(1)  # the server is being restarted

    @contextlib.contextmanager
    def _client(self, server: str) -> Iterator["greenstalk.Client[str]"]:
        with self.servers[server].client() as client:
            yield client


def _put(
    client: "greenstalk.Client[str]", queue: str, job: str, data: dict[str, Any], delay: int = 0
) -> None:
    client.use(queue)
    client.put(json.dumps({"job": job, "data": data}), delay=delay)


def _some(expected: float) -> int:
    """A whole number that is `expected` on average."""
    whole = int(expected)
    return whole + (random.random() < expected - whole)


def vanish(fleet: LiveFleet) -> None:
    """A queue that comes and goes: its series stay."""
    with fleet.servers["q1"].client() as client:
        client.use("import.2025-11")
        jobs = [client.put("once") for _ in range(5)]
        time.sleep(3 * fleet.step)
        for job in jobs:
            client.delete(job)
