"""Connects the checks to Redis: the option `--redis`, the password, the timeout, the errors."""

import argparse
from collections.abc import Callable, Sequence

from beanwatch.checks.lib.plugin import READING_SHARE, Failure
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, UsageError
from beanwatch.config import Config, ConfigError, RedisConfig
from beanwatch.config.secrets import read_redis_password
from beanwatch.light_typing import TYPE_CHECKING, TypeVar
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import Execute, RedisError, RedisUrl, parse_redis_url

if TYPE_CHECKING:
    from beanwatch.checks.lib.fleet_source import ReadFleet
    from beanwatch.store.fleet import Fleet
    from beanwatch.store.heartbeats import Worker

OPTIONAL_SECONDS = 2.0  # for reading heartbeats that only add to the text of an alert
NAME_REDIS = "set redis.url in the configuration, or use --redis URL"


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
    own = getattr(options, "redis", None)  # some checks have no such option
    url = config.redis.url if own is None else own
    if not url:
        raise UsageError(f"Redis is off, because its URL is empty; {NAME_REDIS}")
    try:
        return parse_redis_url(url, read_redis_password(config.redis))
    except ValueError as error:
        raise UsageError(str(error)) from None


def open_redis(options: argparse.Namespace, config: Config, output: PluginOutput) -> RedisReader:
    """Connect to Redis. Raises RedisError, UsageError (wrong URL), ConfigError (password file)."""
    url = pick_redis(options, config)
    output.current_step, output.heading = f"asking redis {url.name}", "redis"
    return RedisReader(url, options.timeout * READING_SHARE)


def live_fleet(options: argparse.Namespace, config: Config, output: PluginOutput) -> "ReadFleet":
    """Return a function that connects to Redis and returns the fleet. It raises RedisError."""

    def read() -> "Fleet":
        with open_redis(options, config, output) as link:
            # Imported here, because without a Redis, check_queue_consumers needs no heartbeats.
            from beanwatch.checks.lib.fleet_source import read_fleet, read_settled

            return read_settled(lambda: read_from(link, read_fleet), options.timeout, config)

    return read


def try_to_read_workers(
    options: argparse.Namespace, config: Config, output: PluginOutput, left: float
) -> "Sequence[Worker]":
    """Return all workers, for a check that can do without them and has no option `--redis`.

    Takes at most OPTIONAL_SECONDS of the `left` seconds. Raises only RedisError.
    """
    limit = max(0.05, min(OPTIONAL_SECONDS, left)) / READING_SHARE
    limited = argparse.Namespace(**{**vars(options), "timeout": limit})
    try:
        return live_fleet(limited, config, output)().workers
    except (UsageError, ConfigError) as error:
        raise RedisError(str(error)) from None


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
