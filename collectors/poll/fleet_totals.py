"""Add up the runs that the workers' records count, as counters that no restart makes fall."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

from beanwatch.collectors.poll.run_history import QueueHistory
from beanwatch.outcomes import NAMES
from beanwatch.queues.servers import Server
from beanwatch.store.heartbeats import Heartbeat, Worker, takes_jobs_from
from beanwatch.store.run_totals import BOUNDS, MAX_OUTCOMES, OTHER_JOBS, QueueRuns, RunTotals
from beanwatch.telemetry.nodes import node

MAX_SUMS = 5_000  # kinds of job in the whole fleet; all further ones share one name
MAX_QUEUES = 10_000  # queues whose average is kept
MAX_ENDED = 5_000  # instances whose last counts are kept after they are gone

Kind = tuple[str, str, str]  # server (node), queue, job
Instance = tuple[str, str]  # the worker's id, and what identifies its process
Counts = dict[tuple[str, str], RunTotals]  # by queue and job


class Sum:
    """The runs of one kind of job since the collector's start. All numbers only grow."""

    __slots__ = ("buckets", "outcomes", "seconds")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def copy(self) -> "Sum":
        """Return a copy."""
        made = Sum()
        made.outcomes, made.buckets = dict(self.outcomes), self.buckets[:]
        made.seconds = self.seconds
        return made

    def add(self, more: RunTotals) -> None:
        """Add runs."""
        for outcome, runs in more.outcomes.items():
            if outcome in self.outcomes or len(self.outcomes) < MAX_OUTCOMES:
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + runs
        for number, runs in enumerate(more.buckets):
            self.buckets[number] += runs
        self.seconds += more.seconds


class FleetTotals:
    """Adds up the runs of all workers by server, queue and job, whichever worker had them.

    A record has the runs since the start of an instance, which may be an earlier one. What an
    instance has counted stays in the sum after it has ended. An instance that was there before this
    collector counts from when it is first seen: else each start of a collector would count all
    earlier runs anew. `report` gets a text if there are too many kinds of job.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        report: Callable[[str], object] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers, self._report, self._clock = servers, report, clock
        self._lock = threading.Lock()
        self._sums: dict[Kind, Sum] = {}
        self._queues: dict[tuple[str, str], QueueHistory] = {}  # by server and queue
        # The last counts of each instance, the one that was seen last at the end.
        self._seen: OrderedDict[Instance, tuple[float, Counts]] = OrderedDict()
        self._counts_from: float | None = None  # an instance from before counts from now on

    def update(self, workers: Sequence[Worker], deploys: int = 0, stamp: int = 0) -> None:
        """Add what the records count more than at the last call."""
        now = self._clock()
        with self._lock:
            if self._counts_from is None:
                self._counts_from = now
            added: dict[tuple[str, str], list[RunTotals]] = {key: [] for key in self._queues}
            for worker in workers:
                beat = worker.heartbeat
                if beat is not None and beat.totals is not None:
                    server = self._find_server(beat)
                    for more in self._take(worker, beat, server, beat.totals, now):
                        added.setdefault((server, more.queue), []).append(more)
            for key, ended in added.items():
                if history := self._history(key, now):
                    history.add(now, ended)
            self._forget()

    def sums(self) -> list[tuple[Kind, Sum]]:
        """Return copies of the sums of all kinds of job."""
        with self._lock:
            return [(kind, one.copy()) for kind, one in self._sums.items()]

    def queue_runs(self, server: str, queue: str) -> QueueRuns | None:
        """Return how long runs of a queue take, by `QueueHistory`; None: unknown.

        `server` is its node.
        """
        with self._lock:
            history = self._queues.get((server, queue))
            return history.summarize() if history else None

    def _take(
        self,
        worker: Worker,
        beat: Heartbeat,
        server: str,
        totals: Iterable[RunTotals],
        now: float,
    ) -> Iterator[RunTotals]:
        """Add what an instance counts more than before, and yield it."""
        instance = worker.id, beat.totals_of or beat.instance or str(beat.started_at)
        known = self._seen.get(instance)
        counts: Counts = known[1] if known else {}
        started = now - worker.age - (beat.beat_at - beat.started_at)
        is_first = not beat.totals_of
        is_new = known is None and is_first and started >= (self._counts_from or 0.0)
        for one in totals:
            key = one.queue, one.job
            before = counts.get(key)
            if before == one:
                continue
            if before is None and known is None and not is_new:
                if history := self._history((server, one.queue), now):
                    history.add_earlier(now, one)
                self._sum_of((server, *key))  # so that the first rise is seen as one
                counts[key] = one
                continue
            counts[key] = one if before is None else _highest(before, one)
            more = one if before is None else _subtract(counts[key], before)
            self._sum_of((server, *key)).add(more)
            yield more
        self._seen[instance] = now, counts
        self._seen.move_to_end(instance)

    def _history(self, key: tuple[str, str], now: float) -> QueueHistory | None:
        history = self._queues.get(key)
        if history is None and len(self._queues) < MAX_QUEUES:
            history = self._queues[key] = QueueHistory(now)
        return history

    def _sum_of(self, kind: Kind) -> Sum:
        if kind not in self._sums and len(self._sums) >= MAX_SUMS:
            self._report(
                f"the workers run more than {MAX_SUMS} kinds of job: further ones are counted "
                f"under the name {OTHER_JOBS}",
            )
            kind = OTHER_JOBS, OTHER_JOBS, OTHER_JOBS
        if kind not in self._sums:
            self._sums[kind] = Sum()
        return self._sums[kind]

    def _forget(self) -> None:
        """Forget the instances that were seen the longest time ago, if there are too many.

        One that is seen again was there before: it must not count its runs anew.
        """
        while len(self._seen) > MAX_ENDED:
            _, (seen_at, _) = self._seen.popitem(last=False)
            self._counts_from = max(self._counts_from or 0.0, seen_at)

    def _find_server(self, beat: Heartbeat) -> str:
        """Return the node of the server that a worker takes its jobs from, or else its kind."""
        is_only = len(self._servers) == 1
        for server in self._servers:
            if takes_jobs_from(beat, server.node, str(server), is_only_server=is_only):
                return server.node
        return node(beat.server or beat.kind)


def _highest(one: RunTotals, other: RunTotals) -> RunTotals:
    """Return the higher of each two numbers: an older record may have been restored."""
    outcomes = {
        name: max(one.outcomes.get(name, 0), other.outcomes.get(name, 0))
        for name in one.outcomes | other.outcomes
    }
    buckets = _by_bucket(one, other, max)
    return RunTotals(one.queue, one.job, outcomes, max(one.seconds, other.seconds), buckets)


def _subtract(now: RunTotals, before: RunTotals) -> RunTotals:
    """Return the runs that `now` has more than `before`."""
    outcomes = {name: runs - before.outcomes.get(name, 0) for name, runs in now.outcomes.items()}
    buckets = _by_bucket(now, before, lambda a, b: a - b)
    return RunTotals(now.queue, now.job, outcomes, now.seconds - before.seconds, buckets)


def _by_bucket(
    one: RunTotals, other: RunTotals, combine: Callable[[int, int], int]
) -> tuple[int, ...]:
    length = max(len(one.buckets), len(other.buckets))
    pairs = ((t.buckets + (0,) * (length - len(t.buckets))) for t in (one, other))
    return tuple(map(combine, *pairs))
