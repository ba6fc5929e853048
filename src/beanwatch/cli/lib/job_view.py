"""How the story of a job looks in a terminal."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import click

from beanwatch.cli.lib.queue_view import human_time
from beanwatch.store.ledger import LedgerEntry
from beanwatch.store.records import RecordError

KEPT_WORDS = {
    "all": "Workers with --ledger all record every run, for 1 day (7 days where one failed): "
    "it has not run yet, is older, or its workers record less or to another Redis.",
    "failures": "Workers record what failed (--ledger failures), for 7 days: "
    "it succeeded at its first run, has not run yet, or is older.",
    "off": "The configuration says --ledger off: nothing is recorded.",
}


class Now(NamedTuple):
    """Where a job is: beanstalkd's state of it or why that is not known, and who holds it."""

    server: str
    job_id: int
    state: str
    stats: Mapping[str, int | float | str] = {}
    holder: str = ""


class Story(NamedTuple):
    """What is known of one job: its recorded runs and where it is now."""

    id: str
    entries: Sequence[LedgerEntry]
    nows: Sequence[Now]
    job: str = ""


def story_lines(story: Story) -> Iterator[str]:
    """The story, one line after the other."""
    last = story.entries[-1] if story.entries else None
    name = last.job if last else story.job or "job"
    queue = last.queue if last else next((str(now.stats.get("tube", "")) for now in story.nows), "")
    parts = [name, *([story.id] if story.id else []), *([f"in {queue}"] if queue else [])]
    yield printable(" ".join(parts))
    if last and last.parent:
        yield f"  follow-up of {printable(last.parent)}"
    numbers = {entry.job_id for entry in story.entries}
    before: LedgerEntry | None = None
    for entry, after in zip_longest(story.entries, story.entries[1:]):
        yield from gap_lines(before, entry)
        # Of runs that failed alike, the last one shows where.
        alike = after is not None and after.traceback.endswith(entry.traceback)
        yield from entry_lines(entry, show_number=len(numbers) > 1, show_traceback=not alike)
        if after is not None and is_unheard(entry, after):
            yield "      beanstalkd did not hear of it: the worker died before it could tell"
        before = entry
    if not story.entries:
        yield "  no run is recorded"
    if len(numbers) > 1:
        yield f"  it was put {len(numbers)} times under one id: the later ones are duplicates"
    for now in story.nows:
        yield from now_lines(now)


def gap_lines(before: LedgerEntry | None, entry: LedgerEntry) -> Iterator[str]:
    """Runs between two entries that nobody recorded."""
    same = before is not None and (before.server, before.job_id) == (entry.server, entry.job_id)
    known = before.attempt if before is not None and same else 0
    missing = range(known + 1, entry.attempt)
    if missing:
        which = f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
        yield (
            f"  {which:>2}  not recorded: the worker died in it, lost its connection or its Redis"
        )


def is_unheard(entry: LedgerEntry, after: LedgerEntry) -> bool:
    """True for a run that was to end the job, which then ran again all the same."""
    same = (entry.server, entry.job_id) == (after.server, after.job_id)
    return same and entry.outcome in ("ok", "discarded")


def entry_lines(entry: LedgerEntry, *, show_number: bool, show_traceback: bool) -> Iterator[str]:
    """One run."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.started_at))
    spans = f"{entry.wait:.1f} s after its put, ran {entry.duration:.3f} s"
    if entry.outcome in ("retry", "timeout") and entry.delay:
        spans += f", again in {entry.delay:.0f} s"
    number = f" job {entry.job_id}" if show_number else ""
    who = f"{entry.worker} ({entry.instance})"
    yield printable(f"  {entry.attempt:>2}  {when}  {entry.outcome:9} {who}{number}: {spans}")
    if entry.reason:
        yield f"      {printable(entry.reason)}"
    if show_traceback:
        for line in entry.traceback.splitlines():
            yield f"        {printable(line)}"
    for follow_up in entry.follow_ups:
        yield f"      put {printable(follow_up)}"


def now_lines(now: Now) -> Iterator[str]:
    """Where it is now."""
    where = f" (job {now.job_id} on {now.server})" if now.server else ""
    words = now.state
    if now.stats:
        number = {key: value for key, value in now.stats.items() if not isinstance(value, str)}
        words += f" in {now.stats.get('tube')}, put {human_time(number.get('age'))} ago"
        words += (
            f", attempt {number.get('reserves')}" if number.get("reserves") else ", not run yet"
        )
        if now.state == "delayed":
            words += f", ready in {human_time(number.get('time-left'))}"
        if number.get("kicks"):
            words += f", kicked {number['kicks']} times"
    if now.holder:
        words += f", held by {now.holder}"
    yield printable(f"  now: {words}{where}")


def say_rejected(error: RecordError) -> None:
    """Say on standard error that a record of the ledger was left out, and why."""
    click.echo(f"beanwatch: a record of the ledger is left out: {error}", err=True)


def printable(text: str) -> str:
    """Text of a job's or a handler's making: no control character may reach the terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
