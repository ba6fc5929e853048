"""Reads Redis for the checks: the option, the password, one connection within `-t`."""

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

from beanwatch.checks.lib.plugin import READING_SHARE, Failure
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, UsageError
from beanwatch.config import Config
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import DEFAULT_URL, Execute, RedisError, RedisUrl, parse_redis_url
from beanwatch.store.heartbeats import Worker, read_workers

ReadWorkers = Callable[[], Sequence[Worker]]


def add_redis(parser: Parser, default: str = DEFAULT_URL) -> None:
    """`--redis`. Its password is in the file that `redis.password_file` names."""
    parser.add_argument("--redis", metavar="URL", help=f"default: that of --config, or {default}")


def pick_redis(options: argparse.Namespace, config: Config) -> RedisUrl:
    """The Redis that the arguments or the configuration name. Raises UsageError, ConfigError."""
    url = options.redis or config.redis.url or DEFAULT_URL
    try:
        return parse_redis_url(url, config.redis.read_password())
    except ValueError as error:
        raise UsageError(str(error)) from None


def open_redis(options: argparse.Namespace, config: Config, output: PluginOutput) -> RedisReader:
    """One connection. Raises RedisError."""
    url = pick_redis(options, config)
    output.current_step, output.heading = f"asking redis {url.address}", "redis"
    return RedisReader(url, options.timeout * READING_SHARE)


def live_workers(options: argparse.Namespace, config: Config, output: PluginOutput) -> ReadWorkers:
    """A function that reads all heartbeats over a connection of its own. It raises RedisError."""

    def read() -> list[Worker]:
        with open_redis(options, config, output) as link:
            return read_from(link, read_workers)

    return read


T = TypeVar("T")


def read_from(link: RedisReader, read: Callable[[Execute], T]) -> T:
    """The result of `read`. Raises RedisError, also for replies of an unexpected type."""
    try:
        return read(link.execute)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise RedisError(f"redis gave an answer that makes no sense ({error})") from None


def redis_failure(error: RedisError) -> Failure:
    """The failure to read Redis, for the context `failure`."""
    timed_out = isinstance(error.__context__, TimeoutError)
    return Failure(str(error), timed_out=timed_out, headings=("redis",))
