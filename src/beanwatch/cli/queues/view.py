"""`beanwatch queues list|show`: show the numbers of queues."""

from typing import Any

import click

from beanwatch.cli.lib.options import (
    QUERY_TIMEOUT,
    load_config,
    pick_servers,
)
from beanwatch.cli.lib.output import print_error, print_json, print_line, print_table
from beanwatch.cli.lib.queue_options import (
    QUEUE_GLOB,
    add_query_options,
    describe_no_match,
    load_targets,
)
from beanwatch.cli.lib.queue_view import SORTS, queue_table, sort_queues
from beanwatch.cli.lib.tables import UNKNOWN
from beanwatch.collectors.poll.observer import Observer
from beanwatch.fleet.overview import FleetObserver
from beanwatch.fleet.queue_actions import Target
from beanwatch.queues.base import ServerError
from beanwatch.queues.model import QUEUE_FIELDS
from beanwatch.queues.selection import INTERNAL, Selection

SHOWN_FIELDS = (*QUEUE_FIELDS, "pause_left")


@click.command("list")
@click.argument("queue_glob", type=QUEUE_GLOB, default="*")
@click.option(
    "--sort", "order", type=click.Choice(list(SORTS)), default="name", help="order (name)"
)
@click.option(
    "--internal",
    is_flag=True,
    help="also list the queues that beanwatch uses itself, for commands to workers and replies",
)
@add_query_options
def list_queues(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    order: str,
    internal: bool,
    as_json: bool,
) -> int:
    """List queues: their jobs by state, consumers, the age of the first ready job, and a state.

    The exit code is 1 if QUEUE_GLOB is given and matches no queue, or if a server did not
    answer or its queues could not be read. The reason is on standard error.
    """
    chosen = pick_servers(load_config(config_file), servers)
    selection = Selection((queue_glob,), internal=() if internal else INTERNAL)
    observers = [Observer(one, selection=selection, timeout=QUERY_TIMEOUT) for one in chosen]
    fleet = FleetObserver(observers, QUERY_TIMEOUT * 2)
    seen = fleet.observe()
    fleet.close()
    rows = sort_queues(seen.queues, order)
    has_no_match = not rows and queue_glob != "*"
    if as_json:
        print_json([row.tree() for row in rows])
    elif not has_no_match:
        print_table(queue_table(rows, several=len(chosen) > 1))
    troubles = [row.trouble for row in seen.servers if row.trouble]
    for trouble in troubles:
        print_error(f"the list is incomplete: {trouble}")
    # If no server's queues were read, nobody knows whether one matches.
    if has_no_match and any(not row.trouble for row in seen.servers):
        print_error(describe_no_match(queue_glob))
    return 1 if troubles or has_no_match else 0


@click.command("show")
@click.argument("queue_glob", type=QUEUE_GLOB, default="*")
@add_query_options
def show(config_file: str | None, servers: tuple[str, ...], queue_glob: str, as_json: bool) -> int:
    """Show every number of queues: first those of all queue systems, then those of this system.

    The exit code is 1 if no queue matches, or if a server could not be read.
    """
    unread: list[ServerError] = []
    _, targets = load_targets(
        config_file, servers, queue_glob, heads=("ready",), on_error=unread.append
    )
    for error in unread:
        print_error(f"cannot read the queues: {error}")
    if as_json:
        print_json([as_tree(target) for target in targets])
        return int(bool(unread))
    for target in targets:
        print_line(f"{target} ({target.server.system.name})")
        for field in SHOWN_FIELDS:
            print_line(f"  {field:24} {value_text(getattr(target.queue, field))}")
        for name, value in target.queue.native.items():
            print_line(f"  {name:24} {value_text(value)}")
    return int(bool(unread))


def as_tree(target: Target) -> dict[str, Any]:
    """Return a queue as a tree for JSON."""
    return {
        "server": target.server.node,
        "system": target.server.system.name,
        "queue": target.name,
        **{field: getattr(target.queue, field) for field in SHOWN_FIELDS},
        "native": dict(target.queue.native),
    }


def value_text(value: float | bool | None) -> str:
    """Format a number; booleans become yes or no, and None (unknown) becomes n/a."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else f"{value}"
