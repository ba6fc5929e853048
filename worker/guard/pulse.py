"""The pulse thread: runs once a tick while the main thread runs a job, or is stuck in one.

At each tick it guards the running job, then reports. In between it waits for commands. None of its
steps may wait for longer than a tick.
"""

import threading
import time
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.control.listener import Listener
from beanwatch.worker.core.internal_errors import InternalErrors
from beanwatch.worker.core.state import FATAL, WorkerState
from beanwatch.worker.core.wake import Wake

MAX_TICK = 1.0  # seconds
MIN_TICK = 0.05  # seconds


class Pulse(threading.Thread):
    """Calls `steps` in this order once a tick, with the monotonic time.

    A step that raises is logged and counted; the other steps and the next ticks go on.
    """

    def __init__(
        self,
        steps: Sequence[Callable[[float], None]],
        listener: Listener,
        state: WorkerState,
        wake: Wake,
        errors: InternalErrors,
        log: FilteringBoundLogger,
        *,
        tick: float = MAX_TICK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="pulse", daemon=True)
        self._steps, self._listener = steps, listener
        self._state, self._errors, self._log = state, errors, log
        self._clock = clock
        self._tick = min(tick, MAX_TICK)
        self._is_over = False
        self._wake = wake

    def tick_within(self, seconds: float) -> None:
        """Tick at least this often from now on: a job with a short time to run has come."""
        if seconds < self._tick:
            self._tick = max(MIN_TICK, seconds)
            self._wake.set()

    def end(self, timeout: float) -> bool:
        """Stop ticking, and wait up to `timeout` seconds for the current tick to end.

        False if it did not end: then the thread still uses what its steps use.
        """
        self._is_over = True
        self._wake.set()
        self.join(timeout)
        return not self.is_alive()

    def run(self) -> None:
        """Tick until told to end."""
        try:
            while not self._is_over:
                now = self._clock()
                for step in self._steps:
                    self._errors.attempt(step, now)
                self._errors.attempt(self._listener.tick)
                self._wait(now + self._tick)
        except Exception as error:
            # Without a pulse nobody guards the job, so stop. The watchdog still guards the process.
            self._log.critical("the pulse failed", exc_info=error)
            self._state.stop(f"the pulse failed: {error}", FATAL)
        finally:
            self._listener.close()

    def _wait(self, until: float) -> None:
        while not self._is_over and (left := until - self._clock()) > 0:
            is_woken, has_input = self._wake.sleep(left, self._listener.fileno())
            if has_input:
                self._listener.receive()
            if is_woken:
                return
