"""Real PHP workers on real servers, which the tests of a module share."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.real import ROOT, Beanstalkd, Redis
from tests.real.process import _die_with_parent
from tests.worker_core.conftest import Broker, RunningWorker

PHP_FILES = ROOT / "worker" / "php"
HANDLERS = Path(__file__).with_name("handlers.php")
# Debian's PHP without ext-redis: then the monitor uses Predis.
PREDIS = ("-n", *(f"-dextension={name}" for name in ("ctype", "mbstring", "posix")))
Check = Callable[..., Result]


class PhpWorker(RunningWorker):
    """The example worker, or another PHP script, as a child process."""

    job_id = 0  # of the job that a test gave it

    def __init__(
        self,
        directory: Path,
        redis_url: str,
        name: str,
        argv: Sequence[object],
        env: dict[str, str] | None = None,
    ) -> None:
        self.name, self.id, self.redis_url = name, f"here.{name}", redis_url
        self.log_file = directory / f"{name}.log"
        self.errors = directory / f"{name}.err"
        with self.log_file.open("ab") as log, self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                ["php", *map(str, argv)],
                env={**os.environ, "BEANWATCH_REDIS_URL": redis_url, **(env or {})},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                preexec_fn=_die_with_parent,
            )


StartPhp = Callable[..., PhpWorker]


class Site:
    """A beanstalkd, a Redis, and the PHP workers of a module, each with a queue of its own."""

    def __init__(self, directory: Path, beanstalkd: Beanstalkd, redis_server: Redis) -> None:
        self.directory, self.beanstalkd, self.redis = directory, beanstalkd, redis_server
        self.broker = Broker(beanstalkd)
        self.workers: list[PhpWorker] = []

    def start(
        self,
        name: str,
        *options: object,
        php: Sequence[str] = (),
        server: str = "",
        redis: str = "",
        env: dict[str, str] | None = None,
        handlers: Path = HANDLERS,
    ) -> PhpWorker:
        """Start the example worker `here.NAME` for the queue NAME."""
        argv = [*php, PHP_FILES / "example-worker.php", "--name", name, "--queue", name]
        argv += ["--host", "here", "--server", server or self.beanstalkd.address]
        argv += ["--handlers", handlers, *options]
        return self.start_script(name, *argv, redis=redis, env=env)

    def start_script(
        self, name: str, *argv: object, redis: str = "", env: dict[str, str] | None = None
    ) -> PhpWorker:
        """Start `php` with these arguments; `name` is that of the worker."""
        worker = PhpWorker(self.directory, redis or self.redis.url, name, argv, env)
        self.workers.append(worker)
        return worker

    def put(self, queue: str, job: str, data: object = None, **options: object) -> int:
        return self.broker.put(job, data, queue=queue, **options)

    def stop(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.signal(signal.SIGCONT)
                worker.process.kill()
            worker.process.wait()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("php")
    with Beanstalkd(directory / "beanstalkd") as beanstalkd, Redis(directory / "redis") as redis:
        found = Site(directory, beanstalkd, redis)
        yield found
        found.stop()


@pytest.fixture
def check(site: Site, run: Callable[..., Result]) -> Check:
    """Runs check_worker_heartbeat for one worker."""

    def run_check(name: str, *options: object) -> Result:
        redis = ("--redis", site.redis.url)
        return run("check_worker_heartbeat", *redis, "--worker", f"here.{name}", *options)

    return run_check
