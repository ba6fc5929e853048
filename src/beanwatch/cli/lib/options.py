"""Options that several commands share, and the parameter types of their values."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from beanwatch import config as configuration
from beanwatch import values
from beanwatch.net.address import AddressError
from beanwatch.net.redis_url import DEFAULT_URL, RedisUrl, parse_redis_url
from beanwatch.queues.registry import DEFAULT_SCHEME
from beanwatch.queues.servers import Server, resolve_servers

F = TypeVar("F", bound=Callable[..., Any])

QUERY_TIMEOUT = 5.0  # seconds for one server or one Redis, where no flag says otherwise
SHORTEST = 0.1  # seconds: less would be no time to wait, or a loop without a pause


class Parsed(click.ParamType[Any]):
    """A value read by one of the parsers of `beanwatch.values`, with that parser's error."""

    def __init__(self, parser: Callable[[Any], Any], name: str) -> None:
        self.parser, self.name = parser, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a text; a default that is no text is taken as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self.parser(value)
        except ValueError as error:
            self.fail(f"{error}, not {value!r}", param, ctx)


DURATION = Parsed(values.duration, "DURATION")
SIZE = Parsed(values.size, "SIZE")
PREFIX = Parsed(values.metric_prefix, "PREFIX")
COUNT = Parsed(values.whole, "COUNT")


def config_option(command: F) -> F:
    """`--config FILE`."""
    return click.option(
        "--config", "config_file", metavar="FILE", help="configuration file (TOML)"
    )(command)


def server_option(command: F) -> F:
    """`--server NAME|ADDRESS`, repeatable."""
    return click.option(
        "--server",
        "servers",
        multiple=True,
        metavar="NAME|ADDRESS",
        help="queue server: a name of the configuration, host:port, unix:/path or a URL; "
        "repeatable",
    )(command)


def redis_option(what: str) -> Callable[[F], F]:
    """`--redis URL`; `what` says what is read there."""
    return click.option("--redis", metavar="URL", help=f"Redis with {what}")


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="print JSON")(command)


def need_time(**durations: float) -> None:
    """Raise UsageError for an option whose duration is shorter than SHORTEST."""
    for name, seconds in durations.items():
        if not seconds >= SHORTEST:
            raise click.UsageError(f"--{name}: at least {SHORTEST:g} s")


def load_config(file: str | None) -> configuration.Config:
    """The configuration, or one line and exit 2 that name the file, the line and the key."""
    try:
        return configuration.load(file)
    except configuration.ConfigError as error:
        raise click.UsageError(str(error)) from None


def pick_servers(config: configuration.Config, wanted: tuple[str, ...]) -> list[Server]:
    """The servers that the flags or the configuration name, or exit 2."""
    try:
        return resolve_servers(config.servers, wanted)
    except AddressError as error:
        raise click.UsageError(str(error)) from None


def pick_job_server(config: configuration.Config, wanted: str | None) -> Server:
    """The one server that a worker takes jobs from, or that `put` puts them into; or exit 2."""
    name = wanted or config.worker.server
    servers = pick_servers(config, (name,) if name else ())
    if len(servers) > 1:
        raise click.UsageError(
            f"several servers are configured: name one with --server ({', '.join(config.servers)})"
        )
    (server,) = servers
    if server.url.scheme != DEFAULT_SCHEME:
        raise click.UsageError(
            f"{server}: beanwatch puts and runs jobs on {DEFAULT_SCHEME} only; "
            f"use the tools of {server.system.name} for its jobs"
        )
    return server


def pick_redis(config: configuration.Config, url: str | None) -> RedisUrl | None:
    """The Redis of the flag or of the configuration, None if neither names one; or exit 2."""
    url = url or config.redis.url
    try:
        return parse_redis_url(url, config.redis.read_password()) if url else None
    except (ValueError, configuration.ConfigError) as error:
        raise click.UsageError(str(error)) from None


def need_redis(config: configuration.Config, url: str | None) -> RedisUrl:
    """The Redis for a command that cannot do without one; by default that on this host."""
    found = pick_redis(config, url or config.redis.url or DEFAULT_URL)
    if found is None:  # DEFAULT_URL is never empty
        raise click.UsageError("--redis URL: name the Redis of the workers")
    return found


def override(section: Any, **flags: Any) -> Any:
    """A configuration section with the flags that were given (those not None) put over it."""
    return section._replace(**{key: value for key, value in flags.items() if value is not None})
