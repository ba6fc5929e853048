"""Connects the checks to Redis: the option `--redis`, the password, the timeout, the errors."""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from beanwatch.checks.lib.plugin import READING_SHARE, Failure
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, UsageError
from beanwatch.config import Config, RedisConfig
from beanwatch.config.secrets import read_redis_password
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import (
    WRITE_REFUSALS,
    Execute,
    RedisError,
    RedisUrl,
    parse_redis_url,
)
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.store.stops import Stop, read_stops

NAME_REDIS = "set redis.url in the configuration, or use --redis URL"

# Returns the heartbeats of all workers. Raises RedisError.
ReadWorkers = Callable[[], Sequence[Worker]]


class Fleet(NamedTuple):
    """The heartbeats of all workers, and the stops of workers that somebody ordered.

    `workers` has those, too, that have stopped but still tell of a crash.
    """

    workers: Sequence[Worker] = ()
    stops: Sequence[Stop] = ()


# Returns the fleet. Raises RedisError.
ReadFleet = Callable[[], Fleet]


def add_redis(parser: Parser) -> None:
    """Add `--redis`. The password comes from the file that `redis.password_file` names."""
    parser.add_argument(
        "--redis",
        metavar="URL",
        help=f"URL of Redis (default: redis.url of the configuration, or {RedisConfig().url})",
    )


def pick_redis(options: argparse.Namespace, config: Config) -> RedisUrl:
    """Return the Redis of `--redis`, else of the configuration.

    Raises UsageError for an invalid URL and if Redis is off, ConfigError for an unreadable password
    file.
    """
    url = config.redis.url if options.redis is None else options.redis
    if not url:
        raise UsageError(f"Redis is off, because its URL is empty; {NAME_REDIS}")
    try:
        return parse_redis_url(url, read_redis_password(config.redis))
    except ValueError as error:
        raise UsageError(str(error)) from None


def open_redis(options: argparse.Namespace, config: Config, output: PluginOutput) -> RedisReader:
    """Connect to Redis. Raises RedisError, UsageError (wrong URL), ConfigError (password file)."""
    url = pick_redis(options, config)
    output.current_step, output.heading = f"asking redis {url.address}", "redis"
    return RedisReader(url, options.timeout * READING_SHARE)


def live_workers(options: argparse.Namespace, config: Config, output: PluginOutput) -> ReadWorkers:
    """Return a function that connects to Redis and returns all workers. It raises RedisError."""

    def read() -> list[Worker]:
        with open_redis(options, config, output) as link:
            return read_from(link, read_known_workers)

    return read


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


T = TypeVar("T")


def read_from(link: RedisReader, read: Callable[[Execute], T]) -> T:
    """Return the result of `read`. Raises RedisError, also if a reply has an unexpected type."""
    try:
        return read(link.execute)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise RedisError(f"redis sent an unexpected reply ({error})") from None


def redis_failure(error: RedisError) -> Failure:
    """Make the Failure for a Redis that cannot be read. Its alert names the heading `redis`."""
    timed_out = isinstance(error.__context__, TimeoutError)
    return Failure(str(error), timed_out=timed_out, headings=("redis",))
