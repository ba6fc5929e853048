"""`beanwatch queues`: look at queues, and change them."""

import click

from beanwatch.cli.lib.groups import ActionGroup
from beanwatch.cli.queues import change, look, systems


@click.group("queues", cls=ActionGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at queues; kick, delete, empty, pause and resume them.

    \b
    Examples:
      beanwatch queues 'email.*'
      beanwatch queues kick email.regular --job email.send --reason '*refused*'
      beanwatch queues empty 'test.*' --dry-run
    """


for action in (
    *(look.list_queues, look.show, look.peek),
    *(change.kick, change.delete, change.empty, change.pause, change.resume),
    systems.systems,
):
    command.add_command(action)
