"""Write the generated parts of the pages in docs: `python -m tests.operations.reference`."""

import argparse
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click

from beanwatch.checks import registry
from beanwatch.cli import COMMANDS, beanwatch
from beanwatch.config import Config, ServerConfig
from beanwatch.config.keys import GENERAL, SERVER, TABLES
from beanwatch.outcomes import OUTCOMES
from beanwatch.store import (
    audit,
    failures,
    heartbeats,
    ledger,
    outcome_counts,
    redis_state,
    started_runs,
    stops,
)
from beanwatch.worker.control import redis_mailbox
from beanwatch.worker.monitor.sinks import ledger_writer as recording
from tests.operations import meanings, series_tables, worker_record
from tests.operations.markdown import Blocks, explained, fill, table
from tests.real import ROOT

PAGE = ROOT / "docs" / "reference.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = sorted(PROJECT["scripts"])
REGISTERED = {check.program: check for check in registry.CHECKS}
PROGRAMS = sorted(REGISTERED)
HELPERS = [name for name in SCRIPTS if name.startswith("beanwatch_")]


# -- commands


def commands() -> str:
    """Every command with its flags, from click itself."""
    parts = []
    for name in COMMANDS:
        command = beanwatch.get_command(click.Context(beanwatch), name)
        assert command is not None
        parts += describe(command, f"beanwatch {name}")
    return "\n\n".join(parts)


def describe(command: click.Command, path: str) -> Iterator[str]:
    """A heading, the usage, the help and the flags; then the same of its subcommands."""
    context = click.Context(command, info_name=path)
    yield f"{'###' if path.count(' ') == 1 else '####'} {path}"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"    {path} {usage}"
    yield indent_examples(command.help or "")
    rows = [
        [f"`{names(option)}`{metavar(option, context)}", explain(option)]
        for option in command.get_params(context)
        if isinstance(option, click.Option) and "--help" not in option.opts
    ]
    if rows:
        yield table(["flag", ""], rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child and not child.hidden:
                yield from describe(child, f"{path} {name}")


def explain(option: click.Option) -> str:
    """The help of a flag, with what `--help` adds to it."""
    text = option.help or ""
    if option.required:
        return f"{text} (required)"
    return f"{text} (default: {option.default})" if option.show_default else text


def names(option: click.Option) -> str:
    """All spellings of a flag."""
    return ", ".join((*option.opts, *option.secondary_opts))


def metavar(option: click.Option, context: click.Context) -> str:
    """The value that a flag takes, as its help shows it."""
    return "" if option.is_flag else f" `{option.make_metavar(context)}`"


def indent_examples(text: str) -> str:
    """Paragraphs flow; those that click is told to leave alone become code below their title."""
    shown = []
    for block in re.split(r"\n\s*\n", cleandoc(text)):
        if block.startswith("\b"):
            title, *rest = block.removeprefix("\b\n").splitlines()
            shown.append("\n".join([title, "", *(f"    {line.strip()}" for line in rest)]))
        else:
            shown.append(" ".join(block.split()))
    return "\n\n".join(shown)


# -- checks


def module_of(program: str) -> Any:
    """The module behind a `check_...` or `beanwatch_...` program."""
    if program in REGISTERED:
        return REGISTERED[program].load()
    return import_module(PROJECT["scripts"][program].partition(":")[0])


def checks() -> str:
    """The flags of every check, from argparse itself; those that all share first."""
    parsers = {name: module_of(name).parser() for name in PROGRAMS}
    flags = {name: dict(flags_of(parser)) for name, parser in parsers.items()}
    shared = set.intersection(*(set(found.items()) for found in flags.values()))
    order = flags[PROGRAMS[0]]
    parts = ["### All checks", table(["flag", ""], [f for f in order.items() if f in shared])]
    for name, found in flags.items():
        parts.append(f"### {name}")
        parts.append((parsers[name].description or "").partition(": ")[2])
        parts.append(table(["flag", ""], [f for f in found.items() if f not in shared]))
    for name in HELPERS:
        parser = module_of(name).parser()
        parts += [f"### {name}", (parser.description or "").partition(": ")[2]]
        parts.append(table(["flag", ""], list(flags_of(parser))[1:]))  # without --help
    return "\n\n".join(parts)


def flags_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Each flag with what it takes, and its help."""
    for action in parser._actions:
        takes = "" if action.nargs == 0 else f" `{action.metavar or choices(action)}`"
        text = (action.help or "").replace("%%", "%")
        flags = f"`{', '.join(action.option_strings)}`" if action.option_strings else ""
        yield f"{flags}{takes}".strip(), text


def choices(action: argparse.Action) -> str:
    """The allowed words, or the name of the value."""
    return "|".join(action.choices) if action.choices else action.dest.upper()


# -- configuration


def configuration() -> str:
    """Every key with its default and what is allowed."""
    defaults = Config()
    rows = []
    for table_name, spec in {"": GENERAL, **TABLES}.items():
        for key, parser in spec.items():
            path = f"{table_name}.{key}" if table_name else key
            section = getattr(defaults, table_name) if table_name in dir(defaults) else defaults
            value = () if path == "workers.expected" else getattr(section, key)
            rows.append([f"`{path}`", show(value), allowed(parser), meanings.CONFIG[path]])
    for key, parser in SERVER.items():
        path, value = f"servers.NAME.{key}", getattr(ServerConfig(), key)
        rows.append([f"`{path}`", show(value), allowed(parser), meanings.CONFIG[path]])
    check_complete("CONFIG", (row[0].strip("`") for row in rows))
    return table(["key", "default", "takes", ""], rows)


def show(value: Any) -> str:
    """A default as it would be written in the file."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"')
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else ""


def allowed(parser: Callable[[Any], Any]) -> str:
    """The values that a parser takes, from the text of its error."""
    try:
        parser(object())
    except ValueError as error:
        words = str(error).removeprefix("expected ").removeprefix("a ").removeprefix("one of ")
        return words.partition(": ")[0].removesuffix(" in quotes")
    return ""


# -- outcomes, Redis, logs


def outcomes() -> str:
    """The outcomes of runs."""
    return table(["outcome", ""], [[f"`{outcome.name}`", outcome.help] for outcome in OUTCOMES])


def redis_keys() -> str:
    """Every key, made by the functions that make it for real."""
    keys = (
        heartbeats.WORKERS_KEY,
        heartbeats.worker_key("<id>"),
        heartbeats.ENDED_KEY,
        heartbeats.VERSION_KEY,
        outcome_counts.outcomes_key("<minute>"),  # type: ignore[arg-type]
        ledger.job_key("<uuid>", "", 0),
        ledger.job_key("", "<server id>", "<job id>"),  # type: ignore[arg-type]
        ledger.uuid_key("<server id>", "<job id>"),  # type: ignore[arg-type]
        ledger.buried_key("<server id>", "<queue>"),
        ledger.buried_servers_key("<queue>"),
        ledger.JOBS_KEY,
        started_runs.started_key("<server id>", "<job id>"),  # type: ignore[arg-type]
        started_runs.STARTED_INDEX,
        stops.STOPS_KEY,
        failures.FAILURES_KEY,
        failures.FAILURE_PREFIX + "<id>",
        failures.BYTES_KEY,
        audit.AUDIT_KEY,
        redis_mailbox.commands_key("<id>"),
        redis_mailbox.answers_key("<sender>"),
        redis_state.PROBE_KEY,
    )
    check_complete("REDIS", keys)
    days, days_ok = recording.KEPT // recording.DAY, recording.KEPT_OK // recording.DAY
    kept = f"{days} days, {days_ok} if ok at once"
    rows = [
        [f"`{key}`", words, life.format(ledger=kept)]
        for key, (words, life) in meanings.REDIS.items()
    ]
    return table(["key", "what", "expires"], rows)


def log_fields() -> str:
    """The context of a job's line."""
    return table(["field", ""], explained(meanings.LOG, meanings.LOG))


def exit_codes() -> str:
    """By command."""
    rows = [
        [f"`{command}`" if "every" not in command else command, f"{code}", words]
        for command, codes in meanings.EXIT_CODES.items()
        for code, words in codes.items()
    ]
    return table(["command", "code", ""], rows)


def check_complete(name: str, wanted: Iterable[str]) -> None:
    """Raises if a meaning is missing, or if there is one of nothing."""
    missing = set(wanted) ^ set(getattr(meanings, name))
    if missing:
        raise KeyError(f"meanings.{name}: {sorted(missing)}")


REFERENCE: Blocks = {
    "commands": commands,
    "checks": checks,
    "configuration": configuration,
    "metrics": series_tables.metrics,
    "outcomes": outcomes,
    "native": series_tables.native,
    "redis": redis_keys,
    "log": log_fields,
    "exit codes": exit_codes,
}
QUEUES: Blocks = {"systems": series_tables.systems}
PAGES = {
    PAGE: REFERENCE,
    ROOT / "docs" / "queues.md": QUEUES,
    worker_record.PAGE: worker_record.BLOCKS,
}


def main(pages: Mapping[Path, Blocks] = PAGES) -> None:
    """Write each page that has changed."""
    for page, blocks in pages.items():
        old = page.read_text()
        new = fill(old, blocks)
        if new != old:
            page.write_text(new)
            sys.stdout.write(f"{page.relative_to(ROOT)}: written\n")
    worker_record.SCHEMA.write_text(worker_record.make_schema())


if __name__ == "__main__":
    main()
