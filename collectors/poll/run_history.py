"""Remember how long the runs of a queue took lately, and how many were repeated."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from beanwatch.store.run_totals import QueueRuns, RunTotals

WINDOW = 600.0  # seconds of the past over which the durations of a queue's runs are averaged
WINDOW_STEPS = 20
MEAN_KEPT = 86400.0  # seconds for which the last average counts while no run ends


class Point(NamedTuple):
    """The sums of a queue at the time `at` (seconds of a monotonic clock)."""

    at: float
    runs: int
    seconds: float
    retries: int


class QueueHistory:
    """Keeps the sums of one queue in the last WINDOW seconds.

    While no run ends, the last average counts for MEAN_KEPT seconds.
    """

    def __init__(self, now: float) -> None:
        self._points = deque([Point(now, 0, 0.0, 0)])
        self._last = self._points[0]
        self._mean: float | None = None  # the last average of the window
        self._mean_at = 0.0
        self._earlier = Point(now, 0, 0.0, 0)  # runs from before the collector counted

    def add(self, now: float, ended: Iterable[RunTotals]) -> None:
        """Add the runs that have ended since the last call."""
        points = self._points
        self._last = last = _advance(self._last, now, ended)
        if now - points[-1].at >= WINDOW / WINDOW_STEPS:
            points.append(last)
        while len(points) > 1 and points[1].at <= now - WINDOW:
            points.popleft()
        first = points[0]
        if last.runs > first.runs:
            self._mean = max(0.0, last.seconds - first.seconds) / (last.runs - first.runs)
            self._mean_at = now

    def add_earlier(self, now: float, ended: RunTotals) -> None:
        """Add runs that ended at an unknown time before the collector counted."""
        self._earlier = _advance(self._earlier, now, [ended])

    def summarize(self) -> QueueRuns | None:
        """Return how long the runs of the queue take now; None: unknown."""
        first, last, earlier = self._points[0], self._last, self._earlier
        elapsed = last.at - first.at
        rate = (last.retries - first.retries) / elapsed if elapsed > 0 else None
        share = min(1.0, earlier.retries / earlier.runs) if earlier.runs else 0.0
        mean = self._mean if last.at - self._mean_at <= MEAN_KEPT else None
        if mean is None and earlier.runs:
            mean = earlier.seconds / earlier.runs
        return None if mean is None else QueueRuns(mean, rate, share)


def _advance(point: Point, now: float, ended: Iterable[RunTotals]) -> Point:
    _, runs, seconds, retries = point
    for one in ended:
        runs += sum(one.buckets)
        seconds += one.seconds
        retries += one.outcomes.get("retry", 0)
    return Point(now, runs, seconds, retries)
