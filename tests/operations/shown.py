"""The commands that a page shows in ```console blocks, with the output that it shows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Shown(NamedTuple):
    """One command and the lines printed below it; `line` is where it stands in its page."""

    page: str
    line: int
    command: str
    output: tuple[str, ...]


def parse_page(path: Path) -> Iterator[Shown]:
    """Commands follow `$ `. A here-document and a line that ends with a backslash go on."""
    lines = iter(enumerate(path.read_text().splitlines(), 1))
    for _, text in lines:
        if text == "```console":
            yield from _parse_block(path.name, lines)


def _parse_block(page: str, lines: Iterator[tuple[int, str]]) -> Iterator[Shown]:
    found: Shown | None = None
    for number, text in lines:
        if text == "```":
            break
        if not text.startswith("$ "):
            if found is None:
                raise ValueError(f"{page}:{number}: output before a command")
            found = found._replace(output=(*found.output, text))
            continue
        if found:
            yield found
        command = text.removeprefix("$ ")
        while command.endswith("\\"):
            command += "\n" + next(lines)[1]
        if here := re.search(r"<<'(\w+)'", command):
            while not command.endswith(f"\n{here[1]}"):
                command += "\n" + next(lines)[1]
        found = Shown(page, number, command, ())
    if found:
        yield found


def matches(shown: tuple[str, ...], real: list[str]) -> bool:
    """Is this the output? `...` stands for any text, alone on its line for any lines.

    Numbers may differ, and so may what is padded because of them.
    """
    pattern = ""
    for line in shown:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
            continue
        pieces = re.split(r"(\.\.\.|\d+(?:\.\d+)?|\s+)", line)
        pattern += "".join(map(_pattern, pieces)) + r"\s*\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in real)) is not None


def _pattern(piece: str) -> str:
    if piece == "...":
        return r".*"
    if piece.isspace():
        return r"\s+"
    return r"\d+(?:\.\d+)?" if piece[:1].isdigit() else re.escape(piece)
