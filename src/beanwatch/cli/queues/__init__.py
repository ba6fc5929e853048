"""`beanwatch queues`: list, inspect and change queues."""

import click

from beanwatch.cli.lib.groups import ActionGroup
from beanwatch.cli.queues import change, systems, view
from beanwatch.cli.queues.peek import peek


@click.group("queues", cls=ActionGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List and inspect queues; retry, delete or move their jobs; empty, pause or resume them.

    \b
    Examples:
      beanwatch queues 'email.*'
      beanwatch queues kick email.regular --job email.send --reason '*refused*'
      beanwatch queues empty 'test.*' --dry-run
    """


for action in (
    *(view.list_queues, view.show, peek),
    *(change.kick, change.retry, change.delete, change.move, change.empty),
    *(change.pause, change.resume),
    systems.systems,
):
    command.add_command(action)
