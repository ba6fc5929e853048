"""`beanwatch queues systems`: show which fields and actions each queue system has."""

import shutil
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

import click

from beanwatch.cli.lib.options import json_option
from beanwatch.cli.lib.output import print_json, print_line
from beanwatch.queues.base import ACTIONS, System
from beanwatch.queues.model import QUEUE_FIELDS, SERVER_FIELDS
from beanwatch.queues.registry import all_systems

MAX_WIDTH = 100  # characters


@click.command("systems")
@json_option
def systems(as_json: bool) -> None:
    """Show the queue systems that beanwatch supports, with the fields and actions of each.

    A field of a queue that a system does not report is listed as unknown. It is n/a in tables, null
    in JSON, and UNKNOWN in a check. Some fields need a setting of the server in the configuration.
    """
    found = all_systems()
    if as_json:
        print_json([as_tree(system, schemes) for system, schemes in found.items()])
        return
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    for system, schemes in found.items():
        for line in format_system(system, schemes, width):
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
        "kick": f"{system.failed.kick} {system.failed.noun}s" if "kick" in system.actions else None,
        "empties": list(system.empties) if "empty" in system.actions else [],
        "peek_effect": system.peek_effect,
        "consumers": system.consumers,
        "needed_settings": dict(system.needed_settings),
    }


def format_system(system: System, schemes: Sequence[str], width: int) -> Iterator[str]:
    """Yield the lines about one system, at most `width` characters wide."""
    yield f"{system.name} ({', '.join(f'{scheme}://' for scheme in schemes)})"
    tree = as_tree(system, schemes)
    parts = {
        "queue": tree["fields"],
        "unknown": [field for field in QUEUE_FIELDS if field not in system.queue_fields],
        "server": tree["server_fields"],
        "actions": tree["actions"],
    }
    texts = {name: ", ".join(words) or "none" for name, words in parts.items()}
    if tree["kick"]:
        texts["kick"] = tree["kick"]
    if system.peek_effect:
        texts["peek"] = f"looking at a job {system.peek_effect}"
    texts["consumers"] = system.consumers
    if needed := [f"{name} needs {setting}" for name, setting in system.needed_settings]:
        texts["settings"] = ", ".join(needed)
    for name, text in texts.items():
        start = f"  {name:10}"
        yield from wrap(text, width, initial_indent=start, subsequent_indent=" " * len(start))
