"""The last guard: a C thread that ends the process when no Python code can run any more."""

import faulthandler
import time
from collections.abc import Callable

MARGIN = 5.0  # seconds after the hard deadline, which is the pulse's to enforce
IDLE = 60.0  # seconds without a tick
_SLACK = 2.0  # seconds more than needed, so that jobs of one length need no arming of their own


class Watchdog:
    """Dumps all stacks to stderr and exits 1 unless re-armed in time.

    Arming costs a thread, so it is done once a tick, and by a job only if it starts between
    two ticks with an end that does not fit it: too early for it, or (once) far too late.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = 0.0
        self._is_fitted = False

    def tick(self, hard: float) -> None:
        """Re-arm: for the job's hard deadline, or for an idle worker if that is 0."""
        now = self._clock()
        self._is_fitted = bool(hard)
        self._arm(now, hard + MARGIN if hard else now + IDLE)

    def cover(self, hard: float) -> None:
        """A job starts: see to it that the end fits its hard deadline."""
        end = hard + MARGIN
        if end > self._ends or (not self._is_fitted and self._ends > end + 2 * _SLACK):
            self._is_fitted = True
            self._arm(self._clock(), end)

    def disarm(self) -> None:
        """No more."""
        faulthandler.cancel_dump_traceback_later()

    def _arm(self, now: float, end: float) -> None:
        self._ends = end + _SLACK
        try:
            faulthandler.dump_traceback_later(max(1.0, self._ends - now), exit=True)
        except RuntimeError:  # no more threads: without it we are better off than without a pulse
            self._ends = 0.0
