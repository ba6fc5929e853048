"""`beanwatch queues systems`: show which fields and actions each queue system has."""

from collections.abc import Iterator, Sequence
from typing import Any

import click

from beanwatch.cli.lib.options import json_option
from beanwatch.cli.lib.output import print_json, print_line
from beanwatch.queues.base import ACTIONS, System
from beanwatch.queues.model import QUEUE_FIELDS, SERVER_FIELDS
from beanwatch.queues.registry import all_systems


@click.command("systems")
@json_option
def systems(as_json: bool) -> None:
    """Show the queue systems that beanwatch supports, with the fields and actions of each.

    A field that a system does not have is n/a in tables, null in JSON, and UNKNOWN in a check.
    """
    found = all_systems()
    if as_json:
        print_json([as_tree(system, schemes) for system, schemes in found.items()])
        return
    for line in format_table(list(found)):
        print_line(line)


def as_tree(system: System, schemes: Sequence[str]) -> dict[str, Any]:
    """Return a system as a tree for JSON."""
    return {
        "system": system.name,
        "schemes": list(schemes),
        "default_port": system.default_port,
        "fields": [field for field in QUEUE_FIELDS if field in system.queue_fields],
        "server_fields": [field for field in SERVER_FIELDS if field in system.server_fields],
        "actions": [action for action in ACTIONS if action in system.actions],
        "consumers": system.consumers,
    }


def format_table(systems: Sequence[System]) -> Iterator[str]:
    """Yield a table with a column for each system: fields of queues, fields of servers, actions."""
    yield format_row("FIELD OR ACTION", [system.name for system in systems])
    parts = (
        ("fields of a queue", QUEUE_FIELDS, [system.queue_fields for system in systems]),
        ("fields of a server", SERVER_FIELDS, [system.server_fields for system in systems]),
        ("actions", ACTIONS, [system.actions for system in systems]),
    )
    for title, names, declared in parts:
        yield title
        for name in names:
            yield format_row(f"  {name}", ["yes" if name in has else "-" for has in declared])
    yield ""
    for system in systems:
        yield f"{system.name}: consumers are {system.consumers}"


def format_row(name: str, cells: Sequence[str]) -> str:
    """Format one line of the table."""
    return "  ".join([f"{name:18}", *(f"{cell:10}" for cell in cells)]).rstrip()
