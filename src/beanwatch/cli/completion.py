"""`beanwatch completion`: the script that lets a shell complete commands and flags."""

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for bash, zsh or fish.

    \b
    Example:
      beanwatch completion bash > /etc/bash_completion.d/beanwatch
    """
    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"no completion for {shell}")
    # Only its script is used, for which it needs no command.
    click.echo(complete(ctx.find_root().command, {}, "beanwatch", "_BEANWATCH_COMPLETE").source())
