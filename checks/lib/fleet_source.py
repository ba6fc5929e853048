"""Reads the workers' heartbeats, and the stops that somebody ordered, for the checks."""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

from beanwatch.checks.lib.plugin_process import PluginOutput
from beanwatch.checks.lib.redis_source import open_redis, read_from
from beanwatch.config import Config
from beanwatch.net.redis_url import WRITE_REFUSALS, Execute, RedisError
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.store.stops import Stop, read_stops


class Fleet(NamedTuple):
    """The heartbeats of all workers, and the stops of workers that somebody ordered.

    `workers` has those, too, that have stopped but still tell of a crash.
    """

    workers: Sequence[Worker] = ()
    stops: Sequence[Stop] = ()


# Returns the fleet. Raises RedisError.
ReadFleet = Callable[[], Fleet]


def read_known_workers(execute: Execute, *, with_ended: bool = False) -> list[Worker]:
    """Read all workers. Raises RedisError, also if it is not known which of them are alive.

    `with_ended` is that of `read_workers`.
    """
    workers = read_workers(execute, with_ended=with_ended)
    for worker in workers:
        if worker.doubt:
            code = next(filter(worker.doubt.__contains__, WRITE_REFUSALS), "")
            raise RedisError(worker.doubt, code)
    return workers


def read_fleet(execute: Execute) -> Fleet:
    """Read the workers and the ordered stops, with one round trip more than `read_known_workers`.

    Raises RedisError.
    """
    return Fleet(read_known_workers(execute, with_ended=True), read_stops(execute))


def live_fleet(options: argparse.Namespace, config: Config, output: PluginOutput) -> ReadFleet:
    """Return a function that connects to Redis and returns the fleet. It raises RedisError."""

    def read() -> Fleet:
        with open_redis(options, config, output) as link:
            return read_from(link, read_fleet)

    return read
