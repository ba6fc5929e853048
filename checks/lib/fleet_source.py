"""Reads the workers' heartbeats, and the stops that somebody ordered, for the checks."""

import time
from collections.abc import Callable

from beanwatch.config import Config
from beanwatch.durations import format_duration
from beanwatch.net.redis_url import WRITE_REFUSALS, Execute, RedisError
from beanwatch.store.fleet import Fleet, is_new, is_unsettled
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.store.redis_state import read_age
from beanwatch.store.stops import read_stops

# A worker that could not write its heartbeat tries again at the next one, a second later. So this
# is long enough for those that are alive when Redis is back.
SETTLE_SECONDS = 2.5

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
