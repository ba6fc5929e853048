"""When to poll: every interval by the monotonic clock, on round moments of the wall clock."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Tick(NamedTuple):
    """One moment of the schedule: its time for Graphite (epoch seconds), and its number."""

    stamp: int
    number: int


class Schedule:
    """A tick at once, then one every `interval` seconds; missed ones are skipped and counted.

    From the second on, ticks are on multiples of the interval in wall-clock time, so that
    each point falls into a step of its own in Graphite. After that only the monotonic
    clock counts: a clock that is set makes no burst and no pause.
    """

    def __init__(
        self,
        interval: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.interval = interval
        self.missed = 0
        self._clock = clock
        self._wall = wall
        self._first = clock() + interval - wall() % interval
        self._number = 0

    def wait(self, sleep: Callable[[float], object] = time.sleep) -> Tick | None:
        """Sleep until the next tick and return it; None if `sleep` returns true (told to stop)."""
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
        # The point belongs to the moment that was due, also if we woke late.
        return Tick(round(self._wall() + left), number)

    def _due(self, number: int) -> float:
        return self._first + (number - 1) * self.interval


class Turns:
    """Something that is done on every n-th tick only, the first one included."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._last = -every

    def is_due(self, number: int) -> bool:
        """True if it is done on this tick. One that was skipped does not put it off."""
        if number - self._last < self._every:
            return False
        self._last = number - number % self._every
        return True
