"""Options that the actions of `beanwatch queues` share, and the queues that these select."""

from collections.abc import Callable
from typing import Any

import click

from beanwatch.cli.lib.options import (
    DURATION,
    QUERY_TIMEOUT,
    ParsedType,
    config_option,
    json_option,
    load_config,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import exit_1_on
from beanwatch.config import Config
from beanwatch.fleet.queue_actions import Target, find_targets
from beanwatch.globs import is_queue_glob, name_of
from beanwatch.queues.base import ServerError


def _parse_queue_glob(text: str) -> str:
    if not is_queue_glob(text):
        raise ValueError("expected the name or a glob of a queue")
    return text


QUEUE_GLOB = ParsedType(_parse_queue_glob, "QUEUE_GLOB")


def add_query_options(action: Any) -> Any:
    """Add the options that every action has: --server, --config and --json."""
    return server_option(config_option(json_option(action)))


def add_change_options(action: Any) -> Any:
    """Add the argument QUEUE_GLOB and the options of an action that changes queues or jobs."""
    action = click.option("--yes", "-y", is_flag=True, help="do not ask for confirmation")(action)
    action = click.option("--dry-run", is_flag=True, help="only show what would be done")(action)
    return click.argument("queue_glob", type=QUEUE_GLOB)(add_query_options(action))


def add_ledger_options(action: Any) -> Any:
    """Add the options that select buried jobs by their records in the ledger."""
    action = redis_option("the ledger")(action)
    action = click.option(
        "--older-than", type=DURATION, help="only jobs that were buried longer ago than this"
    )(action)
    action = click.option(
        "--reason", metavar="GLOB", help="only jobs that were buried for this reason"
    )(action)
    return click.option("--job", metavar="GLOB", help="only jobs with this name")(action)


def load_targets(
    config_file: str | None,
    servers: tuple[str, ...],
    glob: str,
    *,
    heads: tuple[str, ...] = (),
    on_error: Callable[[ServerError], object] | None = None,
) -> tuple[Config, list[Target]]:
    """Return the configuration, and the queues that the glob matches on the selected servers.

    `heads` are the job states for which the age of the first job is read, too. Raises
    ClickException if no queue matches or a server cannot be read; with `on_error`, it is called
    for each such server.
    """
    failed: list[ServerError] = []

    def note(error: ServerError) -> None:
        failed.append(error)
        if on_error is not None:
            on_error(error)

    config = load_config(config_file)
    chosen = pick_servers(config, servers)
    several = " of all servers (choose some with --server)" if len(chosen) > 1 else ""
    with exit_1_on(ServerError, failure=f"cannot read the queues{several}"):
        targets = find_targets(
            chosen, glob, QUERY_TIMEOUT, heads=heads, on_error=note if on_error else None
        )
    if not targets and len(failed) < len(chosen):
        raise click.ClickException(describe_no_match(glob))
    return config, targets


def describe_no_match(glob: str) -> str:
    """Return the error message for a queue name or a glob that matches no queue."""
    what = f"no queue matches {glob!r}" if name_of(glob) is None else f"there is no queue {glob!r}"
    return f"{what}; to list all queues, use beanwatch queues list"
