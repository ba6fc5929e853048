"""Shared by the actions of `beanwatch queues`: options, and finding the queues that are meant."""

from typing import Any

import click

from beanwatch.cli.lib.options import (
    DURATION,
    QUERY_TIMEOUT,
    config_option,
    json_option,
    load_config,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import exit_on
from beanwatch.config import GLOB, Config
from beanwatch.fleet.queue_actions import Target, find_targets
from beanwatch.queues.base import ServerError


def common(action: Any) -> Any:
    """The options of every action."""
    return server_option(config_option(json_option(action)))


def changing(action: Any) -> Any:
    """The argument and the options of an action that changes something."""
    action = click.option("--yes", "-y", is_flag=True, help="do not ask")(action)
    action = click.option("--dry-run", is_flag=True, help="only say what would be done")(action)
    return click.argument("queue_glob")(common(action))


def choosing(action: Any) -> Any:
    """Add the options that select buried jobs by their entries in the ledger."""
    action = redis_option("the ledger")(action)
    action = click.option("--older-than", type=DURATION, help="buried for longer than this")(action)
    action = click.option("--reason", metavar="GLOB", help="buried for this reason")(action)
    return click.option("--job", metavar="GLOB", help="buried jobs of this name")(action)


def pass_targets(
    config_file: str | None, servers: tuple[str, ...], glob: str, *, heads: tuple[str, ...] = ()
) -> tuple[Config, list[Target]]:
    """The queues that the glob matches on the chosen servers; exit 1 if there is none."""
    config = load_config(config_file)
    chosen = pick_servers(config, servers)
    with exit_on(ServerError):
        targets = find_targets(chosen, glob, QUERY_TIMEOUT, heads=heads)
    if not targets:
        raise click.ClickException(no_queue(glob))
    return config, targets


def no_queue(glob: str) -> str:
    """The message when nothing matches."""
    what = f"no queue matches {glob!r}" if GLOB.search(glob) else f"there is no queue {glob!r}"
    return f"{what}; see beanwatch queues list"
