"""`beanwatch queues`: look at queues, kick, pause, resume and empty them."""

import difflib

import click

from beanwatch.cli.lib import queue_act as queue_act
from beanwatch.cli.lib import queue_look as queue_look


class Queues(click.Group):
    """`queues` alone lists; a word that is no action is a glob for `list`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Send `queues GLOB` to `list`, unless the word is nearly an action."""
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            if near := difflib.get_close_matches(word, self.commands, 1, 0.7):
                ctx.fail(f"no such action: {word!r}; did you mean: beanwatch queues {near[0]}")
            args = ["list", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """No action is `list`; options may stand before the action too."""
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ("-h", "--help")
        # While a shell completes a line, the action may be the word that is being typed.
        if not ctx.resilient_parsing and (not args or is_option):
            action = next((arg for arg in args if arg in self.commands), "list")
            rest = list(args)
            if action in rest:
                rest.remove(action)
            args = [action, *rest]
        return super().parse_args(ctx, args)


@click.group("queues", cls=Queues, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at queues, and kick, pause, resume or empty them.

    \b
    Examples:
      beanwatch queues 'email.*'
      beanwatch queues kick email.regular --job email.send --reason '*refused*'
      beanwatch queues empty 'test.*' --dry-run
    """


for action in (
    *(queue_look.list_queues, queue_look.show, queue_look.peek),
    *(
        queue_act.kick_queues,
        queue_act.empty_queues,
        queue_act.pause_queues,
        queue_act.resume_queues,
    ),
):
    command.add_command(action)
