"""Reads the workers' heartbeats, and the stops that somebody ordered, for the checks."""

import time
from collections.abc import Callable, Sequence

from beanwatch.config import Config
from beanwatch.durations import format_duration
from beanwatch.light_typing import NamedTuple
from beanwatch.net.redis_url import WRITE_REFUSALS, Execute, RedisError
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.store.redis_state import read_age
from beanwatch.store.stops import Stop, read_stops

# A worker that could not write its heartbeat tries again at the next one, a second later. So this
# is long enough for those that are alive when Redis is back.
SETTLE_SECONDS = 2.5
# Seconds after a start of Redis: then all that are alive have written again. It is longer, up to
# MAX_SETTLED_AFTER, for workers with a long interval between two heartbeats.
SETTLED_AFTER = 10.0
MAX_SETTLED_AFTER = 120.0


class Fleet(NamedTuple):
    """The heartbeats of all workers, and the stops of workers that somebody ordered.

    `workers` has those, too, that have stopped but still tell of a crash. `redis_age` is the time
    since Redis was started, in seconds; None if that is not known.
    """

    workers: Sequence[Worker] = ()
    stops: Sequence[Stop] = ()
    redis_age: float | None = None


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
    """Read the workers and the ordered stops, with two round trips more than `read_known_workers`.

    Raises RedisError.
    """
    workers = read_known_workers(execute, with_ended=True)
    return Fleet(workers, read_stops(execute), read_age(execute))


def is_unsettled(fleet: Fleet, expected: int) -> bool:
    """Return True if workers that are alive may not have written since Redis is back.

    This is true if no worker has sent a heartbeat lately. It is also true if Redis was just
    started, and fewer workers have sent one than are known, or than `expected`, or if it knows no
    worker. A worker whose record says that it has ended need not send any.
    """
    running = [worker for worker in fleet.workers if not (worker.has_left or has_ended(worker))]
    alive = sum(not worker.is_late for worker in running)
    if is_new(fleet):
        return alive < max(len(running), expected) or not fleet.workers
    return bool(running) and not alive


def is_new(fleet: Fleet) -> bool:
    """Return True if Redis was just started: not all workers that are alive may have written."""
    if fleet.redis_age is None:
        return False
    intervals = (one.heartbeat.interval for one in fleet.workers if one.heartbeat)
    settled_after = max(SETTLED_AFTER, 2 * max(intervals, default=0.0))
    return fleet.redis_age < min(settled_after, MAX_SETTLED_AFTER)


def has_ended(worker: Worker) -> bool:
    """Return True if the worker's last record says that its process has ended or is about to."""
    beat = worker.heartbeat
    return beat is not None and (beat.is_over or bool(beat.last_words))


def read_settled(
    read: ReadFleet,
    timeout: float,
    config: Config,
    sleep: Callable[[float], object] = time.sleep,
) -> Fleet:
    """Return the fleet. If workers may not have written since Redis is back, look a second time.

    Redis, or the network to it, may have been away until a moment ago. Then the workers are alive,
    and write again within seconds. `timeout` is that of the check, in seconds: a third of it, at
    most SETTLE_SECONDS, lies between the two looks. Raises RedisError, also if Redis was just
    started and knows no worker, or not all that are known or expected have written: they may be
    alive.
    """
    fleet = read()
    expected = len(config.expected_workers) + sum(one.least for one in config.expected_groups)
    if not is_unsettled(fleet, expected):
        return fleet
    sleep(min(SETTLE_SECONDS, timeout / 3))
    fleet = read()
    if is_new(fleet) and is_unsettled(fleet, expected):
        age = format_duration(fleet.redis_age or 0.0)
        raise RedisError(f"Redis was started {age} ago: workers may not have connected again yet")
    return fleet
