"""A million names from outside: no table grows with them, and what is dropped is counted."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from structlog.typing import FilteringBoundLogger

from beanwatch.checks.lib import memory as check_memory
from beanwatch.checks.lib.memory import FileMemory
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll import memory as poll_memory
from beanwatch.collectors.poll.memory import PollMemory
from beanwatch.collectors.poll.observer import Observer
from beanwatch.collectors.poll.points import GraphitePoints
from beanwatch.collectors.poll.poller import Poller
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.queues.base import Reader, Reading, Wanted
from beanwatch.queues.beanstalkd.protocol import is_tube_name
from beanwatch.queues.beanstalkd.stats import series_name
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server, parse_server
from beanwatch.store.heartbeats import WORKERS_KEY
from beanwatch.telemetry.logging.problems import MAX_PROBLEMS, ProblemLog
from beanwatch.worker.monitor.heartbeat import heartbeat_writer
from beanwatch.worker.monitor.host import read_rss
from tests.collector.parts import Memory
from tests.real import Redis

MILLION = 1_000_000
AT_ONCE = 10_000  # names that exist at the same time
KEPT = 60  # bytes for each name; a name that is kept takes at least 90


def names(batch: int, count: int = AT_ONCE) -> list[str]:
    """Ephemeral names; half of them would have the same node in a path as another one."""
    return [f"user{'.' if n % 2 else '/'}{batch}.{n // 2}" for n in range(count)]


def grows(use: Callable[[int, list[str]], object], total: int) -> bool:
    """Use `total` names, AT_ONCE at a time. True if the process keeps them."""
    batches = total // AT_ONCE
    for batch in range(3):  # fill what is allowed to be filled
        use(batch, names(batch))
    gc.collect()
    before = read_rss()
    for batch in range(3, batches):
        use(batch, names(batch))
    gc.collect()
    return read_rss() - before > KEPT * total


class Silent:
    """A log that keeps nothing."""

    def warning(self, message: str, **_: object) -> None:
        """Takes no time."""


def test_caches_and_memories_do_not_grow_with_the_names_that_pass() -> None:
    problem_log = ProblemLog(cast("FilteringBoundLogger", Silent()))
    poll = PollMemory()

    def use(batch: int, found: list[str]) -> None:
        for name in found:
            problem_log.report(name, "wrong")
        for name in found[::10]:
            poll.remember(name, [batch])
            poll.lasting(name, "x")
        poll.forget_old()

    assert not grows(use, MILLION)
    assert problem_log.forgotten == MILLION - MAX_PROBLEMS
    for cached in (is_tube_name, series_name):
        assert cached.cache_info().maxsize is not None


class NamesReader(Reader):
    """A server that has other queues at each poll."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        assert wanted.choose is not None
        chosen = wanted.choose(self.found)
        queues = {name: QueueState(name, ready=1, puts=1, deletes=0) for name in self.found}
        return Reading(ServerState(instance="one"), queues, chosen=chosen)


def test_the_collector_does_not_grow_with_queues_that_come_and_go() -> None:
    reader, outbox, selection = NamesReader(), Outbox(), Selection(max_queues=100)
    observer = Observer(Server("q1", parse_server("q1")), selection=selection)
    observer._reader = reader
    poller = Poller(observer, selection, Memory().problems, [GraphitePoints(outbox).publish])

    def use(batch: int, found: list[str]) -> None:
        reader.found = found
        poller.poll(batch)
        while parcel := outbox.next(late=True):
            outbox.mark_sent(parcel)

    assert not grows(use, MILLION // 10)
    assert len(observer.samples.queues) == AT_ONCE


def test_a_memory_without_room_says_how_much_it_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_memory, "MAX_ENTRIES", 10)
    monkeypatch.setattr(poll_memory, "MAX_ENTRIES", 10)
    of_a_check, of_the_collector = FileMemory("x", str(tmp_path)), PollMemory()
    for memory in (of_a_check, of_the_collector):
        for number in range(15):
            memory.remember(f"{number}", number)
    assert of_the_collector.dropped == 5
    of_the_collector.forget_old()
    assert of_the_collector.dropped == 0
    assert of_a_check.trouble.endswith("has room for 10 values only, 5 were dropped")


def test_the_set_of_worker_ids_in_redis_is_bounded(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_writer, "MAX_WORKERS", 100)
    writer = heartbeat_writer.HeartbeatWriter(parse_redis_url(redis_server.url), "web1.a")
    with redis_server.client() as client:
        now = client.time()[0]
        client.zadd(WORKERS_KEY, {f"pod-{n}.a": now + n for n in range(150)})
        assert writer.forget_expired() == 50
        left = client.zrange(WORKERS_KEY, 0, -1)
        assert (len(left), left[0]) == (100, "pod-50.a")
        assert writer.forget_expired() == 0
