"""Commands with actions: `beanwatch queues kick`, `beanwatch workers stop`."""

import difflib

import click


class ActionGroup(click.Group):
    """The name alone means the action `list`; a word that is no action is a glob for `list`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Send `queues GLOB` to `list`, unless the word is nearly an action."""
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            if near := difflib.get_close_matches(word, self.commands, 1, 0.7):
                ctx.fail(f"no such action: {word!r}; did you mean: {ctx.command_path} {near[0]}")
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
