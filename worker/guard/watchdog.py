"""Defines the watchdog: C code ends the process when its Python code hangs.

A process that was frozen (SIGSTOP, a paused virtual machine) finds each timer expired when it runs
again, before any Python code could re-arm it. So while the worker is idle, passed time does not
end the process: it only writes the stacks. What ends it then is processor time, a clock that stands
still while the process is frozen.
"""

import faulthandler
import os
import signal
import time
from collections.abc import Callable

HARD_DEADLINE_MARGIN = 5.0  # seconds after the hard deadline; the pulse ends the job earlier
IDLE_TIMEOUT = 60.0  # seconds without a tick after which an idle worker writes its stacks
# Seconds of processor time without a tick after which an idle worker ends. All threads of all cores
# may use them, and the pulse ticks once a second, so that a busy worker does not come near.
IDLE_CPU_LIMIT = 30.0 * (os.cpu_count() or 1)
MAX_DELAY = 60.0  # seconds that it may expire too late for a job that starts between two ticks
_SLACK = 2.0  # seconds added to each expiry, so that a job soon after another needs no re-arming


class Watchdog:
    """Ends the process unless it is re-armed in time; before, writes all stacks to a file.

    During a job it exits with code 1 after the job's hard deadline. While idle it ends by SIGPROF
    after IDLE_CPU_LIMIT. `fatal` is the descriptor of the file for the stacks of a process that
    ends, also of one that crashes. `idle` is the one for the stacks of an idle process in which no
    Python code runs, and which goes on.

    Re-arming starts a thread, so it happens once per tick. A job that starts between ticks re-arms
    only if the watchdog would expire before the job's hard deadline, or much later.
    """

    def __init__(
        self,
        fatal: int,
        idle: int,
        *,
        cpu_limit: float = IDLE_CPU_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fatal, self._idle, self._cpu_limit = fatal, idle, cpu_limit
        self._clock = clock
        self._expires_at = 0.0
        self._fits_a_job = False
        self._limits_cpu = False

    def start(self) -> None:
        """Write the stacks to `fatal` if the process crashes, or exceeds its processor time."""
        faulthandler.enable(self._fatal)
        # `chain`: after that, the default action of the signal ends the process.
        faulthandler.register(signal.SIGPROF, self._fatal, all_threads=True, chain=True)
        os.register_at_fork(after_in_child=_stop_in_child)

    def tick(self, hard_deadline: float) -> None:
        """Re-arm: for a job's hard deadline (monotonic) or, if 0, for an idle worker."""
        now = self._clock()
        self._fits_a_job = bool(hard_deadline)
        if hard_deadline:
            self._arm(now, hard_deadline + HARD_DEADLINE_MARGIN)
        else:
            self._arm_idle(now)

    def cover_job(self, hard_deadline: float) -> None:
        """Re-arm for a job that starts, if its hard deadline (monotonic) requires that."""
        end = hard_deadline + HARD_DEADLINE_MARGIN
        is_idle = not self._fits_a_job
        if is_idle or not end <= self._expires_at <= end + MAX_DELAY:
            self._fits_a_job = True
            self._arm(self._clock(), end)

    def disarm(self) -> None:
        """Stop the watchdog."""
        faulthandler.cancel_dump_traceback_later()
        self._limit_cpu(0.0)

    def _arm(self, now: float, end: float) -> None:
        self._limit_cpu(0.0)
        self._expires_at = end + _SLACK
        self._dump_after(self._expires_at - now, self._fatal, is_fatal=True)

    def _arm_idle(self, now: float) -> None:
        self._expires_at = now + IDLE_TIMEOUT
        self._dump_after(IDLE_TIMEOUT, self._idle, is_fatal=False)
        self._limit_cpu(self._cpu_limit)

    def _dump_after(self, seconds: float, file: int, *, is_fatal: bool) -> None:
        try:
            faulthandler.dump_traceback_later(max(1.0, seconds), file=file, exit=is_fatal)
        except RuntimeError:  # no thread can be started; the pulse still guards the job
            self._expires_at = 0.0

    def _limit_cpu(self, seconds: float) -> None:
        if seconds or self._limits_cpu:
            self._limits_cpu = bool(seconds)
            signal.setitimer(signal.ITIMER_PROF, seconds)


def _stop_in_child() -> None:
    """Write nothing into the worker's file if a forked child crashes: the worker lives on."""
    faulthandler.disable()
    faulthandler.unregister(signal.SIGPROF)
