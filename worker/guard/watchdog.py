"""The last guard: a C thread that ends the process when no Python code can run any more."""

import faulthandler
import time
from collections.abc import Callable

HARD_DEADLINE_MARGIN = 5.0  # seconds; until then the pulse has the chance to end the job
IDLE_TIMEOUT = 60.0  # seconds without a tick
_SLACK = 2.0  # seconds added to each end, so that jobs of one length need no re-arming


class Watchdog:
    """Writes all stacks to stderr and exits with 1 unless it is re-armed in time.

    Re-arming starts a thread, so it happens once per tick. A job that starts between ticks re-arms
    only if the current end is earlier than its own, or, once, if it is much later.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = 0.0
        self._fits_a_job = False

    def tick(self, hard_deadline: float) -> None:
        """Re-arm for the job's hard deadline (monotonic), or for an idle worker if it is 0."""
        now = self._clock()
        self._fits_a_job = bool(hard_deadline)
        self._arm(
            now, hard_deadline + HARD_DEADLINE_MARGIN if hard_deadline else now + IDLE_TIMEOUT
        )

    def cover(self, hard_deadline: float) -> None:
        """Re-arm for a job that starts, if the current end does not fit its hard deadline."""
        end = hard_deadline + HARD_DEADLINE_MARGIN
        if end > self._ends or (not self._fits_a_job and self._ends > end + 2 * _SLACK):
            self._fits_a_job = True
            self._arm(self._clock(), end)

    def disarm(self) -> None:
        """End the watch."""
        faulthandler.cancel_dump_traceback_later()

    def _arm(self, now: float, end: float) -> None:
        self._ends = end + _SLACK
        try:
            faulthandler.dump_traceback_later(max(1.0, self._ends - now), exit=True)
        except RuntimeError:  # no thread can be started; the pulse still guards the job
            self._ends = 0.0
