"""Print JSON, tables and errors, and escape control characters, for all commands."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, RenderableType


def print_json(tree: Any) -> None:
    """Print a tree as indented JSON on standard output. Unknown values (None) become null."""
    json.dump(tree, sys.stdout, indent=2)
    sys.stdout.write("\n")


def printable(text: str) -> str:
    """Return the text with all control characters escaped, including line ends.

    Names, reasons and bodies of jobs come from other programs, which must not control the terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def print_table(table: RenderableType, *, width: int = 200) -> None:
    """Print a table as wide as the terminal; if output is no terminal, `width` characters wide."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, width)
    console.print(table)


def print_error(text: str) -> None:
    """Print an error as one line on standard error. Unlike `fail`, this does not exit."""
    click.echo(f"beanwatch: {printable(text)}", err=True)


@contextmanager
def exit_1_on(*errors: type[Exception], failure: str = "") -> Iterator[None]:
    """Turn these errors in a `with` block into a ClickException, which means exit code 1.

    Its text is that of the error, after `failure`, which says what could not be done.
    """
    try:
        yield
    except errors as error:
        raise click.ClickException(f"{failure}: {error}" if failure else str(error)) from None
