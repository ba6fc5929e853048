"""`beanwatch completion`: print the script for completion in a shell."""

import click
from click.shell_completion import get_completion_class

from beanwatch.cli.lib.output import print_text


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script with which bash, zsh or fish completes commands and flags.

    \b
    Example:
      beanwatch completion bash > /etc/bash_completion.d/beanwatch
    """
    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"there is no completion script for {shell}")
    # `source` returns the script. It does not use the command, so any command will do.
    print_text(complete(ctx.find_root().command, {}, "beanwatch", "_BEANWATCH_COMPLETE").source())
