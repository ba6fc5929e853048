"""The base of commands with actions, such as `beanwatch queues kick`, `beanwatch workers stop`."""

import difflib

import click


class ActionGroup(click.Group):
    """A command with actions, of which `list` is the default.

    Without an action, the arguments are those of `list`: `beanwatch queues 'email.*'` means
    `beanwatch queues list 'email.*'`.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the action that `args` names; `list` if the first argument is not an action.

        Exits with code 2 if the first argument looks like a misspelled action.
        """
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            if near := difflib.get_close_matches(word, self.commands, 1, 0.7):
                ctx.fail(f"there is no action {word!r}; did you mean: {ctx.command_path} {near[0]}")
            args = ["list", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move the action to the front, because options may stand before it. Default: `list`."""
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ("-h", "--help")
        # While a shell completes the line, the user may still be typing the action.
        if not ctx.resilient_parsing and (not args or is_option):
            action = next((arg for arg in args if arg in self.commands), "list")
            rest = list(args)
            if action in rest:
                rest.remove(action)
            args = [action, *rest]
        return super().parse_args(ctx, args)
