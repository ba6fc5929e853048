"""A poll of 1,000 queues, beside bare calls that return the same numbers."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from beanwatch.config import ServerConfig
from beanwatch.queues.base import Reader, ReaderOptions, Wanted
from beanwatch.queues.servers import resolve_servers

QUEUES = 1000


class Pair(NamedTuple):
    """Our poll and the bare calls. Both return the number of queues that they have read."""

    name: str
    ours: Callable[[], int]
    bare: Callable[[], int]
    rounds: int = 15

    def row(self) -> str:
        """Measure both alternately. Return the row of a table: the median times, their ratios.

        The time that passes has the server's work in it, which is most of a poll. The CPU time is
        that of this process: other programs on the machine disturb it less.
        """
        assert self.ours() == self.bare() == QUEUES
        times = [(measure(self.ours), measure(self.bare)) for _ in range(self.rounds)]
        poll, calls = (
            statistics.median(one.passed for one in column) for column in zip(*times, strict=True)
        )
        passed = statistics.median(ours.passed / bare.passed for ours, bare in times)
        cpu = statistics.median(ours.cpu / bare.cpu for ours, bare in times)
        return (
            f"| {self.name} | {poll * 1000:.1f} | {calls * 1000:.1f} | {passed:.2f} | {cpu:.2f} |"
        )


class Cost(NamedTuple):
    """Seconds: those that passed, and the CPU time of this process."""

    passed: float
    cpu: float


def measure(work: Callable[[], int]) -> Cost:
    """Run `work` once and return what it took."""
    passed, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - passed, time.process_time() - cpu)


def open_reader(config: ServerConfig) -> Reader:
    """Return the reader that the collector would use."""
    (server,) = resolve_servers({"bench": config}, ["bench"])
    return server.system.open_reader(server, ReaderOptions(600.0, is_lasting=True))


def poller(config: ServerConfig, wanted: Wanted | None = None) -> Callable[[], int]:
    """Return a function that reads all queues of a server and returns their number."""
    reader = open_reader(config)
    return lambda: len(reader.read(wanted or Wanted()).queues or ())
