"""Fixtures: one Redis for all tests of a module, emptied for each, and monitors that beat often."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import Heartbeat, Worker, read_workers
from beanwatch.worker import WorkerMonitor
from tests.real import Redis, wait_until

INTERVAL = 0.05  # seconds between two heartbeats
Watch = Callable[..., WorkerMonitor]


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared_redis: Redis) -> Redis:
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis


class Fleet:
    """The workers as everybody else sees them: by their records in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._url = parse_redis_url(redis.url)

    def find(self, worker: str) -> Worker | None:
        with RedisReader(self._url, 20) as link:
            found = read_workers(link.execute, [worker], with_ended=True)
        return found[0] if found else None

    def beat(self, worker: str) -> Heartbeat:
        found = self.find(worker)
        if found is None or found.heartbeat is None:
            raise LookupError(f"no record of {worker}: {found and found.problem}")
        return found.heartbeat

    def health(self, worker: str) -> str:
        found = self.find(worker)
        return decide_health(found) if found else "missing"

    def wait_for(self, worker: str, state: str, timeout: float = 30.0) -> Heartbeat:
        wait_until(lambda: self.beat(worker).state == state, timeout, message=f"{worker} {state}")
        return self.beat(worker)


@pytest.fixture
def fleet(redis: Redis) -> Fleet:
    return Fleet(redis)


@pytest.fixture
def watch(redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """`watch(kind="celery")` is a started monitor of web1.w1 that writes `log`; all are stopped."""
    monkeypatch.delenv("BEANWATCH_CONFIG", raising=False)
    monitors: list[WorkerMonitor] = []

    def start(name: str = "w1", queues: tuple[str, ...] = ("email",), **options: Any) -> Any:
        defaults = {
            "redis": redis.url,
            "host": "web1",
            "log_file": str(tmp_path / "log"),
            "interval": INTERVAL,
        }
        monitor = WorkerMonitor(name, queues, **{**defaults, **options})
        monitors.append(monitor)
        monitor.start()
        return monitor

    yield start
    for monitor in monitors:
        monitor.stop()
