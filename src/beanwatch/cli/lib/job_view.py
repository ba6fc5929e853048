"""The story of a job, as lines for a terminal."""

import time
from collections.abc import Iterator
from itertools import zip_longest

from beanwatch.cli.lib.output import printable
from beanwatch.durations import format_duration
from beanwatch.fleet.job_story import JobLocation, Story
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.ledger import LedgerEntry

DELETED = frozenset(outcome.name for outcome in OUTCOMES if outcome.is_deleted)

KEPT_WORDS = {
    "all": "Workers with --ledger all record every run, for 1 day (7 days where one failed): "
    "it has not run yet, is older, or its workers record less or to another Redis.",
    "failures": "Workers record what failed (--ledger failures), for 7 days: "
    "it succeeded at its first run, has not run yet, or is older.",
    "off": "The configuration says --ledger off: nothing is recorded.",
}


def story_lines(story: Story) -> Iterator[str]:
    """The story, one line after the other. Nothing in it can control the terminal."""
    return map(printable, _lines(story))


def _lines(story: Story) -> Iterator[str]:
    last = story.entries[-1] if story.entries else None
    name = last.job if last else story.job or "job"
    queue = last.queue if last else next((now.job.queue for now in story.nows if now.job), "")
    parts = [name, *([story.id] if story.id else []), *([f"in {queue}"] if queue else [])]
    yield " ".join(parts)
    if last and last.parent:
        yield f"  follow-up of {last.parent}"
    numbers = {entry.job_id for entry in story.entries}
    before: LedgerEntry | None = None
    for entry, after in zip_longest(story.entries, story.entries[1:]):
        yield from gap_lines(before, entry)
        # Of runs that failed alike, the last one shows where.
        alike = after is not None and after.traceback.endswith(entry.traceback)
        yield from entry_lines(entry, show_number=len(numbers) > 1, show_traceback=not alike)
        if after is not None and is_unheard(entry, after):
            yield "      the server did not hear of it: the worker died before it could tell"
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
    return same and entry.outcome in DELETED


def entry_lines(entry: LedgerEntry, *, show_number: bool, show_traceback: bool) -> Iterator[str]:
    """One run."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.started_at))
    spans = f"{entry.wait:.1f} s after its put, ran {entry.duration:.3f} s"
    if entry.outcome in ("retry", "timeout") and entry.delay:
        spans += f", again in {entry.delay:.0f} s"
    number = f" job {entry.job_id}" if show_number else ""
    who = f"{entry.worker} ({entry.instance})"
    yield f"  {entry.attempt:>2}  {when}  {entry.outcome:9} {who}{number}: {spans}"
    if entry.reason:
        yield f"      {entry.reason}"
    if show_traceback:
        for line in entry.traceback.splitlines():
            yield f"        {line}"
    for follow_up in entry.follow_ups:
        yield f"      put {follow_up}"


def now_lines(now: JobLocation) -> Iterator[str]:
    """Where it is now."""
    words = now.state
    if job := now.job:
        words += f" in {job.queue}"
        if job.age is not None:
            words += f", put {format_duration(job.age)} ago"
        if job.attempts is not None:
            words += f", attempt {job.attempts}" if job.attempts else ", not run yet"
        if job.ready_in is not None:
            words += f", ready in {format_duration(job.ready_in)}"
        if job.kicks:
            words += f", kicked {job.kicks} times"
    if now.holder:
        words += f", held by {now.holder}"
    where = f" (job {now.job_id} on {now.server})" if now.server else ""
    yield f"  now: {words}{where}"
