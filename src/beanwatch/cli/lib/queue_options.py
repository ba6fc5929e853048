"""What the actions of `beanwatch queues` have in common: options, and the queues that they mean."""

from typing import Any

import click

from beanwatch.cli.lib.options import (
    DURATION,
    config_option,
    load_config,
    pick_servers,
    server_option,
)
from beanwatch.cli.lib.queue_plan import Target, find_targets
from beanwatch.config import Config
from beanwatch.queues.beanstalkd.connection import ServerError

TIMEOUT = 5.0
STATES = ("ready", "delayed", "buried")  # those whose jobs no worker holds


def common(action: Any) -> Any:
    """The options of every action."""
    action = click.option("--json", "as_json", is_flag=True, help="print JSON")(action)
    return server_option(config_option(action))


def pass_targets(
    config_file: str | None, servers: tuple[str, ...], glob: str
) -> tuple[Config, list[Target]]:
    """The queues that the glob matches on the chosen servers; exit 1 if there is none."""
    config = load_config(config_file)
    try:
        targets = find_targets(pick_servers(config, servers), glob, TIMEOUT)
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    if not targets:
        raise click.ClickException(f"no queue matches {glob!r}; see beanwatch queues list")
    return config, targets


def changing(action: Any) -> Any:
    """The options of an action that changes something."""
    action = click.option("--yes", "-y", is_flag=True, help="do not ask")(action)
    action = click.option("--dry-run", is_flag=True, help="only say what would be done")(action)
    return click.argument("queue_glob")(common(action))


def choosing(action: Any) -> Any:
    """The options that choose buried jobs by what the workers noted in the ledger."""
    action = click.option("--redis", metavar="URL", help="Redis with the ledger")(action)
    action = click.option("--older-than", type=DURATION, help="buried for longer than this")(action)
    action = click.option("--reason", metavar="GLOB", help="buried for this reason")(action)
    return click.option("--job", metavar="GLOB", help="buried jobs of this name")(action)
