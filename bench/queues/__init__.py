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
        """Measure both alternately. Return the row of a table: the median times, their ratio.

        The times are CPU times of this process, since the servers are other processes, and other
        programs disturb them less than the time that passes.
        """
        assert self.ours() == self.bare() == QUEUES
        times = [(measure(self.ours), measure(self.bare)) for _ in range(self.rounds)]
        poll, calls = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(ours / bare for ours, bare in times)
        return f"| {self.name} | {poll * 1000:.1f} | {calls * 1000:.1f} | {ratio:.2f} |"


def measure(work: Callable[[], int]) -> float:
    """Return the seconds of CPU time that this process needs for it."""
    started = time.process_time()
    work()
    return time.process_time() - started


def open_reader(config: ServerConfig) -> Reader:
    """Return the reader that the collector would use."""
    (server,) = resolve_servers({"bench": config}, ["bench"])
    return server.system.open_reader(server, ReaderOptions(600.0, is_lasting=True))


def poller(config: ServerConfig, wanted: Wanted | None = None) -> Callable[[], int]:
    """Return a function that reads all queues of a server and returns their number."""
    reader = open_reader(config)
    return lambda: len(reader.read(wanted or Wanted()).queues or ())
