"""Print lines, JSON, tables and errors for all commands; what a terminal could obey is escaped."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, RenderableType

from beanwatch.quoting import terminal_text


def print_json(tree: Any) -> None:
    """Print a tree as indented JSON on standard output. Unknown values (None) become null."""
    json.dump(tree, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_line(text: str, *, err: bool = False) -> None:
    """Print one line on standard output, or with `err` on standard error.

    Everything that a terminal could obey is escaped, also line ends: names, reasons and bodies of
    jobs come from other programs. Use this and not click.echo, which would print them as they are.
    """
    click.echo(terminal_text(text), err=err)  # noqa: TID251


def print_text(text: str) -> None:
    """Print lines of text that beanwatch itself has made, such as a script."""
    click.echo(text.removesuffix("\n"))  # noqa: TID251


def print_status(word: str, color: str | None, text: str) -> None:
    """Print a line that begins with a word in a color, padded to 8 characters."""
    line = f"{click.style(f'{word:8}', fg=color)} {terminal_text(text)}"
    click.echo(line)  # noqa: TID251


def print_table(table: RenderableType, *, width: int = 200) -> None:
    """Print a table as wide as the terminal; if output is no terminal, `width` characters wide."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, width)
    console.print(table)


def print_error(text: str) -> None:
    """Print an error as one line on standard error. Unlike `fail`, this does not exit."""
    print_line(f"beanwatch: {text}", err=True)


@contextmanager
def exit_1_on(*errors: type[Exception], failure: str = "") -> Iterator[None]:
    """Turn these errors in a `with` block into a ClickException, which means exit code 1.

    Its text is that of the error, after `failure`, which says what could not be done.
    """
    try:
        yield
    except errors as error:
        raise click.ClickException(f"{failure}: {error}" if failure else str(error)) from None
