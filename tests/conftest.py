"""Fixtures: one real server each, fresh for the test that asks; a few are for all tests."""

import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from beanwatch.store.fleet import SETTLED_AFTER
from tests.real import ROOT, Beanstalkd, Graphite, Proxy, Redis
from tests.real.rabbitmq import RabbitMQ
from tests.real.waiting import wait_until

# The machine may be busy with other tests: how long an example takes says nothing. The tests of
# properties try the same examples in each run, so that no run fails by chance; `make nightly` looks
# for new ones.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("search"), derandomize=True)
settings.load_profile("same")

_numbers = itertools.count(1)

# Tests of one server that takes seconds to start, or of one thing that takes seconds to make. Each
# group runs in one process, so that this happens once in a run.
GROUPS = (
    "tests/adapters/test_celery.py",
    "tests/adapters/test_dramatiq.py",
    "tests/adapters/test_rq.py",
    "tests/adapters/test_shown.py",
    "tests/machine/",
    "tests/php_worker/test_formats.py",
    "tests/php_worker/test_jobs.py",
    "tests/php_worker/test_liveness.py",
    "tests/queues/rabbitmq/",
    "tests/queues/sql/",
    "tests/queues/test_sqs.py",
    "tests/test_packaging.py",
    "tests/web/test_browser.py",
)
# They take minutes. They are started early, so that they do not delay the end of a run, but not all
# at once: this many other tests are between two of them.
LONG = (
    "tests/operations/test_shown.py::test_what_is_shown_works",
    "tests/test_night.py::test_in_a_short_night",
    "tests/grafana/test_on_real_",
    "tests/adapters/test_situations.py::test_the_check_says",
)
BETWEEN = 100

# A shell lets what it runs in the background ignore these, and so would all that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class Result(NamedTuple):
    """What a command did; unpacks as (code, stdout, stderr)."""

    code: int
    stdout: str
    stderr: str


class OneByOne(LoadScopeScheduling):
    """Gives each free process the next group or, outside of groups, the next test."""

    def _split_scope(self, nodeid: str) -> str:
        return next((group for group in GROUPS if nodeid.startswith(group)), nodeid)


@pytest.hookimpl(optionalhook=True)  # pytest also runs without xdist: -p no:xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneByOne:
    return OneByOne(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    found = [item for item in items if item.nodeid.startswith(LONG)]
    items[:] = [item for item in items if not item.nodeid.startswith(LONG)]
    for number, item in enumerate(found):
        items.insert(number * (BETWEEN + 1), item)


@pytest.fixture
def beanstalkd(tmp_path: Path) -> Iterator[Beanstalkd]:
    with Beanstalkd(tmp_path / "beanstalkd") as server:
        yield server


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def redis_of_all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def old_redis(redis_of_all_tests: Redis) -> Redis:
    """An empty Redis that runs for so long that each worker has had the time to write."""
    with redis_of_all_tests.client() as client:
        client.replicaof("NO", "ONE")
        client.flushall()
    wait_until(lambda: redis_of_all_tests.uptime() > SETTLED_AFTER, 30)
    return redis_of_all_tests


@pytest.fixture(scope="session")
def graphite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graphite]:
    """One for all tests of a process, as it takes seconds to start: use your own `prefix`."""
    with Graphite(tmp_path_factory.mktemp("graphite")) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """One for all tests of a process, as it takes long to start: use a vhost of your own."""
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server
        server.kill()  # to stop in order would take seconds


@pytest.fixture
def prefix() -> str:
    """The first node of metric paths that no other test uses."""
    return f"test{os.getpid()}x{next(_numbers)}"


@pytest.fixture
def proxy() -> Iterator[Callable[[str], Proxy]]:
    """Makes proxies in front of an address: `proxy(beanstalkd.address)`."""
    proxies: list[Proxy] = []

    def make(upstream: str) -> Proxy:
        proxies.append(Proxy(upstream).__enter__())
        return proxies[-1]

    yield make
    for one in proxies:
        one.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1, signed by itself, and its key, in one file."""
    file = tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", file, "-out", file],
        check=True, capture_output=True,
    )  # fmt: skip
    return file


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB, which only root can make."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """Runs a command of `.venv/bin` in `tmp_path`: `run("check_queue_server", "-H", host)`.

    No configuration of the host's is read: BEANWATCH_* is not passed on.
    """

    def run_command(
        *argv: object, timeout: float = 30.0, env: dict[str, str] | None = None, stdin: str = ""
    ) -> Result:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("BEANWATCH_")}
        done = subprocess.run(
            [ROOT / ".venv" / "bin" / str(argv[0]), *map(str, argv[1:])],
            env={**inherited, **(env or {})},
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run_command
