"""Format the recorded runs and the present state of a job as lines of text."""

import time
from collections.abc import Iterator
from itertools import zip_longest

from beanwatch.durations import format_duration
from beanwatch.fleet.job_story import DELETED, JobLocation, Story
from beanwatch.quoting import terminal_text
from beanwatch.store.ledger import LedgerEntry
from beanwatch.words import count

# Why nothing may be known of a job, by the setting `worker.ledger`.
RECORDING_HINTS = {
    "all": "Workers with --ledger all record every run for 1 day (7 days if a run failed), so the "
    "job has not run yet, or ran earlier, or its workers use another --ledger or --redis.",
    "failures": "Workers record only jobs of which a run failed (--ledger failures), for 7 days, "
    "so the job has not run yet, or succeeded at its first run, or ran earlier.",
    "off": "Workers record no runs, because the configuration sets ledger to off.",
}


def story_lines(story: Story) -> Iterator[str]:
    """Yield the lines that show a job, with control characters escaped."""
    return map(terminal_text, _lines(story))


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
        # If runs failed with the same traceback, show it only for the last of them.
        alike = after is not None and after.traceback.endswith(entry.traceback)
        yield from entry_lines(entry, show_number=len(numbers) > 1, show_traceback=not alike)
        if after is not None and ran_again(entry, after):
            yield "      the job ran again though this run was ok: its delete was not confirmed"
        before = entry
    if not story.entries:
        yield "  no run of this job is recorded"
    if len(numbers) > 1:
        times = len(numbers)
        yield f"  the job was put {times} times with the same id, by its producer or by an operator"
    for now in story.nows:
        yield from now_lines(now)


def gap_lines(before: LedgerEntry | None, entry: LedgerEntry) -> Iterator[str]:
    """Yield a line for the runs between two recorded runs of which there is no record."""
    same = before is not None and (before.server, before.job_id) == (entry.server, entry.job_id)
    known = before.attempt if before is not None and same else 0
    missing = range(known + 1, entry.attempt)
    if missing:
        which = f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
        yield (
            f"  {which:>2}  not recorded: the worker died during the run, or lost its connection "
            "to the server or to Redis"
        )


def ran_again(entry: LedgerEntry, after: LedgerEntry) -> bool:
    """Return True if a run was recorded as done and deleted, but the same job ran again."""
    same = (entry.server, entry.job_id) == (after.server, after.job_id)
    return same and entry.outcome in DELETED


def entry_lines(entry: LedgerEntry, *, show_number: bool, show_traceback: bool) -> Iterator[str]:
    """Yield the lines of one run: when, outcome, worker, times, reason, traceback, follow-ups."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.started_at))
    # Nobody measured the run if its worker was killed.
    ran = f"ran for {entry.duration:.3f} s" if entry.duration else "ran for an unknown time"
    put = "" if entry.wait is None else f"started {entry.wait:.1f} s after its put, "
    spans = f"{put}{ran}"
    if entry.outcome in ("retry", "timeout") and entry.delay:
        spans += f", to run again in {entry.delay:.0f} s"
    number = f" job {entry.job_id}" if show_number else ""
    who = f"{entry.worker} ({entry.instance})"
    yield f"  {entry.attempt:>2}  {when}  {entry.outcome:9} {who}{number}: {spans}"
    if entry.reason:
        yield f"      {entry.reason}"
    if show_traceback:
        for line in entry.traceback.splitlines():
            yield f"        {line}"
    for follow_up in entry.follow_ups:
        yield f"      put follow-up job {follow_up}"


def now_lines(now: JobLocation) -> Iterator[str]:
    """Yield the line that shows the present state of a job."""
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
            words += f", kicked {count(job.kicks, 'time')}"
    if now.holder:
        words += f", held by {now.holder}"
    where = f" (job {now.job_id} on {now.server})" if now.server else ""
    yield f"  now: {words}{where}"
