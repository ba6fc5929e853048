"""RunCounter: counts runs and sorts their durations into buckets, for /metrics and the record."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.outcomes import NAMES
from beanwatch.store.run_totals import BOUNDS, MAX_COUNTED, MAX_KINDS, OTHER_JOBS, RunTotals
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.metrics import NOT_RUN

MAX_FOUND = 2000  # pairs of queue and job in the lookup table; for others, a run takes longer


class KindCounts:
    """The counts of one kind of job. They only grow."""

    __slots__ = ("durations", "outcomes", "seconds", "wait_seconds", "waits")

    def __init__(self) -> None:
        # All outcomes from the start: a thread that reads them must not see the dict grow.
        self.outcomes = dict.fromkeys(NAMES, 0)
        self.seconds = self.wait_seconds = 0.0
        self.durations, self.waits = ([0] * (len(BOUNDS) + 1) for _ in range(2))


class Kind(NamedTuple):
    """A kind of job, with its counts."""

    queue: str
    job: str
    counts: KindCounts


class RunCounter:
    """Counts the runs of at most MAX_KINDS kinds of job, all further ones as OTHER_JOBS.

    Further kinds share one count per queue. Beyond MAX_COUNTED counts, all further queues share
    one.

    One thread counts at a time: the one that ends the run. Other threads read without a lock, so
    the sum of durations can be one run ahead of the buckets.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._has_told = False
        self._found: dict[tuple[str, str], KindCounts] = {}  # by queue and job of a run
        self._kinds: tuple[Kind, ...] = ()  # replaced, not changed, since other threads read it

    def on_finished(self, run: Run) -> None:
        """Count a run. Like StatsD's timers, leave out the wait of later attempts."""
        counts = self._found.get((run.queue, run.job)) or self._add(run.queue, run.job)
        outcome = run.outcome
        counts.outcomes[outcome] += 1
        if outcome not in NOT_RUN:
            counts.seconds += run.duration
            counts.durations[bisect_left(BOUNDS, run.duration)] += 1
        if run.attempt == 1 and run.wait is not None:
            counts.wait_seconds += run.wait
            counts.waits[bisect_left(BOUNDS, run.wait)] += 1

    def tick(self) -> None:
        """Do nothing: others ask for the counts."""

    def close(self, timeout: float) -> None:
        """Do nothing: the last record has the counts."""

    def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds of job that have run, with their counts."""
        return self._kinds

    def totals(self) -> tuple[RunTotals, ...]:
        """Return the present counts for the worker's record, without those that are 0."""
        return tuple(self._make_totals())

    def _make_totals(self) -> Iterator[RunTotals]:
        for queue, job, counts in self._kinds:
            buckets = counts.durations[:]
            while buckets and not buckets[-1]:
                del buckets[-1]
            outcomes = {name: n for name, n in counts.outcomes.items() if n}
            yield RunTotals(queue, job, outcomes, round(counts.seconds, 6), tuple(buckets))

    def _add(self, queue: str, job: str) -> KindCounts:
        """Return new counts for a kind of job, or those of the other jobs of this queue."""
        kind = queue, job
        if sum(one.job != OTHER_JOBS for one in self._kinds) >= MAX_KINDS:
            self._tell(job)
            kind = queue, OTHER_JOBS
            if kind not in self._found and len(self._kinds) >= MAX_COUNTED:
                kind = OTHER_JOBS, OTHER_JOBS
        counts = self._found.get(kind)
        if counts is None:
            counts = self._found[kind] = KindCounts()
            self._kinds = (*self._kinds, Kind(*kind, counts))
        if len(self._found) < MAX_FOUND:
            self._found[queue, job] = counts
        return counts

    def _tell(self, job: str) -> None:
        if not self._has_told:
            self._has_told = True
            self._log.warning(
                "this worker has run more than {kinds} kinds of job: {job} and all further ones "
                "are counted under the name {other}",
                kinds=MAX_KINDS,
                job=job,
                other=OTHER_JOBS,
            )
