"""Defines the watchdog: a thread in C ends the process when its Python code hangs."""

import faulthandler
import time
from collections.abc import Callable

HARD_DEADLINE_MARGIN = 5.0  # seconds after the hard deadline; the pulse ends the job earlier
IDLE_TIMEOUT = 60.0  # seconds without a tick after which the process ends
_SLACK = 2.0  # seconds added to each expiry, so that a job soon after another needs no re-arming


class Watchdog:
    """Writes all stacks to stderr and exits with code 1 unless it is re-armed in time.

    Re-arming starts a thread, so it happens once per tick. A job that starts between ticks re-arms
    only if the watchdog would expire before the job's hard deadline, or much later.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expires_at = 0.0
        self._fits_a_job = False

    def tick(self, hard_deadline: float) -> None:
        """Re-arm: for a job's hard deadline (monotonic) or, if 0, for IDLE_TIMEOUT from now."""
        now = self._clock()
        self._fits_a_job = bool(hard_deadline)
        self._arm(
            now, hard_deadline + HARD_DEADLINE_MARGIN if hard_deadline else now + IDLE_TIMEOUT
        )

    def cover_job(self, hard_deadline: float) -> None:
        """Re-arm for a job that starts, if its hard deadline (monotonic) requires that."""
        end = hard_deadline + HARD_DEADLINE_MARGIN
        if end > self._expires_at or (not self._fits_a_job and self._expires_at > end + 2 * _SLACK):
            self._fits_a_job = True
            self._arm(self._clock(), end)

    def disarm(self) -> None:
        """Stop the watchdog."""
        faulthandler.cancel_dump_traceback_later()

    def _arm(self, now: float, end: float) -> None:
        self._expires_at = end + _SLACK
        try:
            faulthandler.dump_traceback_later(max(1.0, self._expires_at - now), exit=True)
        except RuntimeError:  # no thread can be started; the pulse still guards the job
            self._expires_at = 0.0
