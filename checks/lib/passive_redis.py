"""Reads once from Redis what all checks of `beanwatch passive` need of it."""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from beanwatch.checks.job_failures import WINDOW_MINUTES
from beanwatch.checks.lib.fleet_source import read_fleet, read_settled
from beanwatch.checks.lib.plugin_process import PluginOutput, UsageError
from beanwatch.checks.lib.redis_source import open_redis, read_from
from beanwatch.config import Config, ConfigError
from beanwatch.light_typing import NamedTuple, TypeVar
from beanwatch.net.redis_info import RedisState
from beanwatch.net.redis_url import Execute, RedisError
from beanwatch.store.fleet import Fleet
from beanwatch.store.heartbeats import read_redis
from beanwatch.store.outcome_counts import JobKind, read_outcomes

T = TypeVar("T")


class RedisReadings(NamedTuple):
    """Holds what one round read from Redis: each part, or the error that prevented reading it."""

    state: RedisState | Exception
    fleet: Fleet | Exception
    outcomes: Mapping[JobKind, Counter[str]] | Exception


def unwrap(found: T | Exception) -> T:
    """Return what was read. Raises the error if it could not be read."""
    if isinstance(found, Exception):
        raise found
    return found


def read_all(options: argparse.Namespace, config: Config, output: PluginOutput) -> RedisReadings:
    """Read all parts over one connection, within `options.timeout` seconds. Raises nothing."""
    try:
        with open_redis(options, config, output) as link:

            def attempt(read: Callable[[Execute], T]) -> T | RedisError:
                try:
                    return read_from(link, read)
                except RedisError as error:
                    return error

            def settled(execute: Execute) -> Fleet:
                return read_settled(lambda: read_fleet(execute), options.timeout, config)

            outcomes = partial(read_outcomes, minutes=WINDOW_MINUTES)
            return RedisReadings(attempt(read_redis), attempt(settled), attempt(outcomes))
    except (RedisError, UsageError, ConfigError) as error:  # also a wrong URL or password file
        return RedisReadings(error, error, error)
