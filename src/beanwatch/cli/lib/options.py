"""Options that several commands share, the types of their values, and what they select."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from beanwatch import values
from beanwatch.config import Config, ConfigError
from beanwatch.config.reader import DEFAULT_FILE, load
from beanwatch.config.secrets import read_redis_password, read_signing_secret
from beanwatch.net.address import AddressError
from beanwatch.net.redis_url import RedisUrl, parse_redis_url
from beanwatch.queues.registry import DEFAULT_SCHEME
from beanwatch.queues.servers import Server, resolve_servers

F = TypeVar("F", bound=Callable[..., Any])

QUERY_TIMEOUT = 5.0  # seconds to query one server or Redis, in commands without --timeout
MIN_DURATION = 0.1  # seconds; a shorter timeout always expires, a shorter interval is a busy loop

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # before click 8.4, it takes no parameter


class ParsedType(ParamType):
    """The type of an option whose value one of the parsers of `beanwatch.values` reads."""

    def __init__(self, parser: Callable[[Any], Any], name: str) -> None:
        self.parser, self.name = parser, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a string; return any other value (a default) unchanged. Exits for a bad value."""
        if not isinstance(value, str):
            return value
        try:
            return self.parser(value)
        except ValueError as error:
            self.fail(f"{error}, not {value!r}", param, ctx)


DURATION = ParsedType(values.duration, "DURATION")
SIZE = ParsedType(values.size, "SIZE")
PREFIX = ParsedType(values.metric_prefix, "PREFIX")
COUNT = ParsedType(values.whole_number, "COUNT")


def config_option(command: F) -> F:
    """Add the option `--config FILE` to a command."""
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        help=f"configuration file in TOML format ({DEFAULT_FILE})",
    )(command)


def server_option(command: F) -> F:
    """Add the option `--server NAME|ADDRESS`, which can be repeated, to a command."""
    return click.option(
        "--server",
        "servers",
        multiple=True,
        metavar="NAME|ADDRESS",
        help="queue server: its name in the configuration, host:port, unix:/path or a URL; "
        "repeatable (default: all configured servers)",
    )(command)


def redis_option(what: str) -> Callable[[F], F]:
    """Add the option `--redis URL` to a command. `what` says, for the help, what Redis holds."""
    return click.option(
        "--redis", metavar="URL", help=f"Redis with {what} (default: the configured one)"
    )


def json_option(command: F) -> F:
    """Add the flag `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="print JSON instead of text")(
        command
    )


def check_durations(**durations: float) -> None:
    """Raise UsageError for an option (by name) whose duration is shorter than MIN_DURATION."""
    for name, seconds in durations.items():
        if not seconds >= MIN_DURATION:
            raise click.UsageError(f"--{name}: must be at least {MIN_DURATION:g} s")


def load_config(file: str | None) -> Config:
    """Load the configuration. Raises UsageError, which names the file, the line and the key."""
    try:
        return load(file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def pick_servers(config: Config, wanted: tuple[str, ...]) -> list[Server]:
    """Return the servers of --server (`wanted`); if there are none, all configured servers.

    Raises UsageError if an address is invalid.
    """
    try:
        return resolve_servers(config.servers, wanted)
    except AddressError as error:
        raise click.UsageError(str(error)) from None


def pick_job_server(config: Config, wanted: str | None) -> Server:
    """Return the one server from which a worker reserves jobs, or to which `put` puts them.

    Raises UsageError if several are configured and none is chosen, or if it is not beanstalkd.
    """
    name = wanted or config.worker.server
    servers = pick_servers(config, (name,) if name else ())
    if len(servers) > 1:
        raise click.UsageError(
            f"several servers are configured; choose one with --server: {', '.join(config.servers)}"
        )
    (server,) = servers
    if server.url.scheme != DEFAULT_SCHEME:
        raise click.UsageError(
            f"{server} is a server of {server.system.name}, but beanwatch can put and run jobs on "
            f"{DEFAULT_SCHEME} only; use the tools of {server.system.name} for its jobs"
        )
    return server


def pick_redis(config: Config, url: str | None) -> RedisUrl | None:
    """Return the URL of the Redis of the flag or the configuration; None if it is empty (off).

    Raises UsageError if the URL is invalid or the password cannot be read.
    """
    url = config.redis.url if url is None else url
    try:
        return parse_redis_url(url, read_redis_password(config.redis)) if url else None
    except (ValueError, ConfigError) as error:
        raise click.UsageError(str(error)) from None


def need_redis(config: Config, url: str | None) -> RedisUrl:
    """Return the URL of the Redis for a command that needs one.

    Raises UsageError if the URL is invalid, the password cannot be read, or Redis is off.
    """
    found = pick_redis(config, url)
    if found is None:
        raise click.UsageError(
            "this needs Redis, which is off because redis.url is empty; name one with --redis URL"
        )
    return found


def read_command_secret(config: Config) -> bytes:
    """Return the secret that signs commands to workers; b"" if none is configured.

    Raises UsageError if its file cannot be read, is readable by others, or holds no good secret.
    """
    try:
        return read_signing_secret(config)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def apply_flags(section: Any, **flags: Any) -> Any:
    """Return a table of the configuration, changed by the flags that were given (not None)."""
    return section._replace(**{key: value for key, value in flags.items() if value is not None})
