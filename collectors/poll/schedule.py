"""The times of polls: multiples of the interval, kept steady by the monotonic clock."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Tick(NamedTuple):
    """One time at which to poll.

    `stamp` is this time for Graphite, in seconds since the epoch. `number` counts ticks from 0.
    """

    stamp: int
    number: int


class Schedule:
    """Gives one tick at once, then one every `interval` seconds. Counts ticks that were missed.

    From the second tick on, ticks are at multiples of the interval in wall-clock time, so that
    each point has its own step in Graphite. The wall clock is read for this only once, at the
    start: setting it later causes neither a burst of polls nor a pause.

    With `delay`, all ticks but the first one come so many seconds later, with the same stamps.
    """

    def __init__(
        self,
        interval: float,
        delay: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.interval = interval
        self.missed = 0
        self._delay = delay
        self._clock = clock
        self._wall = wall
        self._first = clock() + interval - wall() % interval + delay
        self._number = 0

    def wait(self, sleep: Callable[[float], object] = time.sleep) -> Tick | None:
        """Sleep until the next tick and return it; None if `sleep` returned true, to stop."""
        number, self._number = self._number, self._number + 1
        if number == 0:
            return Tick(round(self._wall()), 0)
        late = self._clock() - self._due(number)
        if late >= self.interval:
            skipped = int(late // self.interval)
            self.missed += skipped
            number += skipped
            self._number += skipped
        while (left := self._due(number) - self._clock()) > 0:
            if sleep(left):
                return None
        # The stamp is the time that was due, even if this thread woke up late.
        return Tick(round(self._wall() + left - self._delay), number)

    def _due(self, number: int) -> float:
        return self._first + (number - 1) * self.interval


class EveryNthTick:
    """Selects every n-th tick, beginning with the first."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._last = -every

    def is_due(self, number: int) -> bool:
        """Return True if this tick is selected, or replaces a selected tick that was missed."""
        if number - self._last < self._every:
            return False
        self._last = number - number % self._every
        return True
