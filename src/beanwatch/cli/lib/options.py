"""Options that several commands share, and the parameter types of their values."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from beanwatch import config as configuration
from beanwatch import values
from beanwatch.net.address import AddressError
from beanwatch.queues.servers import Server, resolve_servers

F = TypeVar("F", bound=Callable[..., Any])


def need_time(**durations: float) -> None:
    """Raise UsageError for an option whose duration is none."""
    for name, seconds in durations.items():
        if not seconds >= SHORTEST:
            raise click.UsageError(f"--{name}: at least {SHORTEST:g} s")


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


SHORTEST = 0.1  # seconds: less would be no time to wait, or a loop without a pause
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
    """`--server NAME-or-ADDRESS`, repeatable."""
    return click.option(
        "--server",
        "servers",
        multiple=True,
        metavar="NAME|ADDRESS",
        help="beanstalkd: a name of the configuration, host:port or unix:/path",
    )(command)


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


def override(section: Any, **flags: Any) -> Any:
    """A configuration section with the flags that were given (those not None) put over it."""
    return section._replace(**{key: value for key, value in flags.items() if value is not None})
