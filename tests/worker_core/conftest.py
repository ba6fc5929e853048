"""A real worker process on real servers, and its log and heartbeat."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import greenstalk
import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import Heartbeat, JobRecord, Worker, read_workers
from tests.real import ROOT, Beanstalkd, Redis, stop_process, wait_until
from tests.real.process import _die_with_parent
from tests.records import running_job

QUEUE = "work"


class RunningWorker:
    """One `beanwatch worker` as a child process."""

    def __init__(
        self,
        directory: Path,
        redis_url: str,
        argv: list[str],
        env: dict[str, str],
        wrapper: Sequence[str] = (),
    ):
        self.name = argv[argv.index("--name") + 1]
        self.id = f"here.{self.name}"
        self.redis_url = redis_url
        self.log_file = directory / f"{self.name}.log"
        self.errors = directory / f"{self.name}.err"
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*wrapper, str(ROOT / ".venv/bin/beanwatch"), "worker", *argv],
                env={**os.environ, **env},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                preexec_fn=_die_with_parent,
            )

    def lines(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        if not self.log_file.exists():
            return []
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def runs(self, job: str = "") -> list[dict[str, Any]]:
        """The contexts of the log lines about finished runs."""
        contexts = [line["context"] for line in self.lines()]
        return [c for c in contexts if "outcome" in c and job in ("", c["job"])]

    def outcomes(self, job: str = "") -> list[str]:
        return [run["outcome"] for run in self.runs(job)]

    def logged(self, text: str) -> dict[str, Any] | None:
        return next((line for line in self.lines() if text in line["message"]), None)

    def seen(self) -> Worker | None:
        """The worker as the checks see it."""
        with RedisReader(parse_redis_url(self.redis_url), 5) as link:
            found = read_workers(link.execute, [self.id])
        return found[0] if found else None

    def beat(self) -> Heartbeat:
        worker = self.seen()
        if worker is None or worker.heartbeat is None:
            raise LookupError(f"no heartbeat of {self.id}")
        return worker.heartbeat

    def running(self) -> JobRecord:
        """The job in its record; one without name and id if there is none."""
        return running_job(self.beat())

    def health(self) -> str:
        worker = self.seen()
        return decide_health(worker) if worker else "missing"

    def in_state(self, state: str) -> bool:
        beat = self.beat()
        return beat.state == state and beat.pid == self.process.pid  # not its predecessor's

    def wait_for(self, state: str, timeout: float = 20.0) -> Heartbeat:
        wait_until(lambda: self.in_state(state), timeout, f"the worker is {state}")
        return self.beat()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_code(self, timeout: float = 30.0) -> int:
        return self.process.wait(timeout)

    def stop(self) -> int:
        return stop_process(self.process, 15)


StartWorker = Callable[..., RunningWorker]


@pytest.fixture
def start_worker(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis
) -> Iterator[StartWorker]:
    """Starts workers: `start_worker("--grace", 1, name="w1", server=..., redis=...)`."""
    running: list[RunningWorker] = []

    def start(
        *options: object,
        name: str = "w1",
        server: str = "",
        redis: str = "",
        app: str = "tests.worker_core.jobs:app",
        queue: str = QUEUE,
        env: dict[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> RunningWorker:
        redis = redis or redis_server.url
        argv = [app, "--queue", queue, "--name", name, "--host", "here", "--redis", redis]
        argv += ["--server", server or beanstalkd.address, "--tmp-root", str(tmp_path)]
        argv += ["--log-file", str(tmp_path / f"{name}.log"), *map(str, options)]
        worker = RunningWorker(tmp_path, redis, argv, env or {}, wrapper)
        running.append(worker)
        return worker

    yield start
    for worker in running:
        if worker.process.poll() is None:
            worker.signal(signal.SIGCONT)
            worker.process.kill()
        worker.process.wait()


class Broker:
    """The work queue, as a producer and an operator use it."""

    def __init__(self, server: Beanstalkd) -> None:
        self.server = server

    def put(self, job: str, data: Any = None, *, queue: str = QUEUE, **options: Any) -> int:
        extra = options.pop("envelope", {})
        return self.put_raw(json.dumps({"job": job, "data": data, **extra}), queue=queue, **options)

    def put_raw(self, body: str | bytes, *, queue: str = QUEUE, **options: Any) -> int:
        with self.server.client(use=queue, encoding=None) as client:
            return client.put(body.encode() if isinstance(body, str) else body, **options)

    def stats(self, queue: str = QUEUE) -> dict[str, int]:
        """The current numbers of jobs in a queue, by state."""
        stats = self.server.stats_tube(queue)
        states = ("ready", "reserved", "delayed", "buried")
        return {state: stats.get(f"current-jobs-{state}", 0) for state in states}

    def counts(self, queue: str = QUEUE, **expected: int) -> bool:
        """True when the queue holds exactly these jobs."""
        return {state: n for state, n in self.stats(queue).items() if n} == expected

    def job(self, job_id: int) -> dict[str, Any]:
        """`stats-job`, empty when the job is gone."""
        with self.server.client() as client:
            try:
                return dict(client.stats_job(job_id))
            except greenstalk.NotFoundError:
                return {}

    def take(self, queue: str, timeout: int = 10) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take the next job of a queue and delete it. Returns its envelope and its stats."""
        with self.server.client(watch=queue, encoding=None) as client:
            job = client.reserve(timeout)
            stats = dict(client.stats_job(job))
            client.delete(job)
            return json.loads(job.body), stats


@pytest.fixture
def broker(beanstalkd: Beanstalkd) -> Broker:
    return Broker(beanstalkd)
