"""Printing that all commands share: JSON, tables, errors, foreign text made safe."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, RenderableType


def print_json(tree: Any) -> None:
    """Print for programs. What is not known is null."""
    json.dump(tree, sys.stdout, indent=2)
    sys.stdout.write("\n")


def printable(text: str) -> str:
    """The text with every control character escaped, line ends too.

    Names, reasons and bodies of jobs were written by others: none may control the terminal.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def print_table(table: RenderableType, *, width: int = 200) -> None:
    """Print a table as wide as the terminal; in a pipe it has `width` characters."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, width)
    console.print(table)


def complain(text: str) -> None:
    """Print one line on standard error: something is wrong, and the command goes on."""
    click.echo(f"beanwatch: {printable(text)}", err=True)


@contextmanager
def exit_on(*errors: type[Exception]) -> Iterator[None]:
    """An error of these kinds inside becomes its text in one line, and exit 1."""
    try:
        yield
    except errors as error:
        raise click.ClickException(str(error)) from None
