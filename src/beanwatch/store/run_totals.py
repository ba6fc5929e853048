"""Cumulative runs of each kind of job, as the records of workers have them."""

from collections.abc import Iterable
from itertools import zip_longest

from beanwatch.light_typing import Any, NamedTuple
from beanwatch.store.records import as_integer, clean_text, read_record

# Upper limits of the buckets of a run's duration and wait, in seconds; one more bucket is above.
BOUNDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 900.0, 3600.0),
)
MAX_KINDS = 50  # kinds of job (queue and job) that a worker counts under their own names
OTHER_JOBS = "_other"  # the name of all further jobs of a queue, and of all further queues
# Counts of a worker: its kinds, and OTHER_JOBS for each queue. One more is for all further queues.
MAX_COUNTED = 200
# Kinds in a record, with those that only earlier instances have run.
MAX_CARRIED = MAX_COUNTED + 100
MAX_READ = 1000  # kinds in a record of another program; a record with more is invalid
MAX_OUTCOMES = 20
MAX_NAME = 255  # characters
MAX_COUNT = 2**53  # JSON readers of other languages keep larger numbers only roughly


class RunTotals(NamedTuple):
    """The runs of one kind of job.

    `buckets` has the number of runs in each bucket (not of those below), without zeros at the end.
    `seconds` is the sum of their durations. Runs whose handler was not called are in no bucket.
    """

    queue: str
    job: str
    outcomes: dict[str, int]
    seconds: float = 0.0
    buckets: tuple[int, ...] = ()


class QueueRuns(NamedTuple):
    """The mean duration of a queue's runs, and how often they are repeated.

    `retry_rate` is in runs per second; None: unknown. `retry_share` is the share of the runs after
    which the job runs again.
    """

    mean_run: float  # seconds
    retry_rate: float | None = None
    retry_share: float = 0.0


def summarize(totals: Iterable[RunTotals]) -> QueueRuns | None:
    """Return how long the runs of these kinds took, as far back as they count; None: unknown."""
    runs = retries = 0
    seconds = 0.0
    for one in totals:
        runs += sum(one.buckets)
        seconds += one.seconds
        retries += one.outcomes.get("retry", 0)
    return QueueRuns(seconds / runs, None, min(1.0, retries / runs)) if runs else None


def add_totals(earlier: Iterable[RunTotals], later: Iterable[RunTotals]) -> tuple[RunTotals, ...]:
    """Add up the runs of two instances of a worker, by kind of job.

    Of more than MAX_CARRIED kinds, leave out some that only the earlier one has run.
    """
    sums = {(one.queue, one.job): one for one in later}
    for one in earlier:
        kind = one.queue, one.job
        if other := sums.get(kind):
            sums[kind] = _add(one, other)
        elif len(sums) < MAX_CARRIED:
            sums[kind] = one
    return tuple(sums.values())


def _add(one: RunTotals, other: RunTotals) -> RunTotals:
    outcomes = dict(one.outcomes)
    for outcome, runs in other.outcomes.items():
        outcomes[outcome] = outcomes.get(outcome, 0) + runs
    buckets = tuple(a + b for a, b in zip_longest(one.buckets, other.buckets, fillvalue=0))
    return RunTotals(one.queue, one.job, outcomes, round(one.seconds + other.seconds, 6), buckets)


def parse_totals(value: Any) -> tuple[RunTotals, ...]:
    """Validate the field `totals` of a record. Raises ValueError."""
    if type(value) is not list or len(value) > MAX_READ:
        raise ValueError(f"expected a list of at most {MAX_READ} kinds of job")
    return tuple(
        read_record(one, RunTotals, _PARSERS, f"totals[{at}].") for at, one in enumerate(value)
    )


def _parse_name(value: Any) -> str:
    if type(value) is not str or len(value) > MAX_NAME:
        raise ValueError(f"expected a text of at most {MAX_NAME} characters")
    return clean_text(value)


def _parse_outcomes(value: Any) -> dict[str, int]:
    if value == []:  # PHP writes an empty object so
        return {}
    if type(value) is not dict or len(value) > MAX_OUTCOMES:
        raise ValueError(f"expected an object with at most {MAX_OUTCOMES} outcomes")
    return {_parse_name(name): _parse_count(runs) for name, runs in value.items()}


def _parse_buckets(value: Any) -> tuple[int, ...]:
    if type(value) is not list or len(value) > len(BOUNDS) + 1:
        raise ValueError(f"expected a list of at most {len(BOUNDS) + 1} counts")
    return tuple(map(_parse_count, value))


def _parse_count(value: Any) -> int:
    count = as_integer(value)
    if type(count) is not int or not 0 <= count < MAX_COUNT:
        raise ValueError("expected counts: whole numbers of 0 or more, below 2**53")
    return count


def _parse_seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < MAX_COUNT:  # also for NaN
        raise ValueError("expected a number of 0 or more, below 2**53")
    return float(value)


_PARSERS = {
    "queue": _parse_name,
    "job": _parse_name,
    "outcomes": _parse_outcomes,
    "seconds": _parse_seconds,
    "buckets": _parse_buckets,
}
