"""Every command that a page names in passing exists, with the flags that it is named with."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from beanwatch.cli import COMMANDS, beanwatch
from tests.operations.reference import PROGRAMS, module_of
from tests.real import ROOT

SUFFIXES = (".md", ".cfg", ".conf", ".service", ".yaml")
FOLDERS = ("docs", "checks", "collectors", "worker", "grafana")
FILES = [
    ROOT / "README.md",
    *(
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in SUFFIXES and not {"_site", ".cache"} & set(path.parts)
    ),
]
# In code, in a console block, or as a unit starts it.
NAMED = re.compile(
    r"(?:`|\$ |ExecStart=/usr/bin/env |command=|/bin/(?=check_))"
    r"((?:beanwatch|check_\w+) [^`\n|;<>&]+)"
)


def named(path: Path) -> Iterator[list[str]]:
    """The command lines of a file, as words."""
    for match in NAMED.finditer(path.read_text()):
        try:
            yield shlex.split(match[1])
        except ValueError:  # a quote that the next line closes
            yield match[1].split()


def complain(words: list[str]) -> str:
    """What is wrong with a command line, empty if nothing is."""
    program, *rest = words
    if "--" in rest:  # what follows belongs to the program that `beanwatch run` starts
        rest = rest[: rest.index("--")]
    flags = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    if program.startswith("check_"):
        if program not in PROGRAMS:
            return f"no such check: {program}"
        parser = module_of(program).parser()
        return complain_of(flags, set(parser._option_string_actions))
    command: click.Command = beanwatch
    context = click.Context(beanwatch)
    for word in rest:
        if not isinstance(command, click.Group):
            break
        if word.isupper() or word == "..." or word.startswith("-"):
            continue
        child = command.get_command(context, word)
        if child is None and command is beanwatch:
            return f"no such command: {word}; there are {', '.join(COMMANDS)}"
        if child is None:
            break  # a glob: `beanwatch queues 'email.*'`
        command = child
    known = {flag for option in command.get_params(context) for flag in option.opts}
    known |= {"-h", "--help", "--version"}
    if isinstance(command, click.Group):  # options before the action, or of the one it defaults to
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            known |= {f for o in child.get_params(context) for f in o.opts} if child else set()
    return complain_of(flags, known)


def complain_of(flags: set[str], known: set[str]) -> str:
    unknown = sorted(flags - known)
    return f"no such flag: {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_named_exists(path: Path) -> None:
    wrong = [f"{' '.join(words)}: {why}" for words in named(path) if (why := complain(words))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("beanwatch queues kick QUEUE --dry-run", ""),
        ("beanwatch queues kick QUEUE --dri-run", "no such flag: --dri-run"),
        ("beanwatch queuez", "no such command: queuez"),
        ("check_queue_depth -w 1 --for 5m", ""),
        ("check_queue_depth --fro 5m", "no such flag: --fro"),
        ("check_queue_dept", "no such check: check_queue_dept"),
    ],
)
def test_a_wrong_one_is_found(line: str, why: str) -> None:
    assert complain(line.split()).startswith(why) if why else not complain(line.split())
