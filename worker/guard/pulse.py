"""Defines the pulse thread, which runs once per tick, also while the main thread hangs in a job.

At each tick it guards the running job, then reports. Between ticks it waits for the commands of
operators. No step may take longer than a tick.
"""

import threading
import time
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.control.listener import Listener
from beanwatch.worker.core.state import FATAL, WorkerState
from beanwatch.worker.core.wake import Wake
from beanwatch.worker.guard.descriptors import OwnDescriptors
from beanwatch.worker.monitor.internal_errors import InternalErrors

MAX_TICK = 1.0  # seconds
MIN_TICK = 0.05  # seconds


class Pulse(threading.Thread):
    """Is the pulse thread. Calls each of `steps` once per tick, in order, with monotonic time.

    `tick` is in seconds. If a step raises an exception, it is logged and counted; the other steps
    still run.
    """

    def __init__(
        self,
        steps: Sequence[Callable[[float], None]],
        listener: Listener,
        state: WorkerState,
        wake: Wake,
        errors: InternalErrors,
        descriptors: OwnDescriptors,
        log: FilteringBoundLogger,
        *,
        tick: float = MAX_TICK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="pulse", daemon=True)
        self._steps, self._listener = steps, listener
        self._state, self._errors, self._log = state, errors, log
        self._descriptors = descriptors
        self._clock = clock
        self._tick = min(tick, MAX_TICK)
        self._is_ended = False
        self._wake = wake

    def tick_within(self, seconds: float) -> None:
        """Tick at least every `seconds` from now on: a job with a short TTR was reserved."""
        if seconds < self._tick:
            self._tick = max(MIN_TICK, seconds)
            self._wake.set()

    def end(self, timeout: float) -> bool:
        """Stop ticking, and wait up to `timeout` seconds for the thread to end.

        Returns False if it did not end: then its steps may still use the sinks and connections.
        """
        self._is_ended = True
        self._wake.set()
        self.join(timeout)
        return not self.is_alive()

    def run(self) -> None:
        """Tick until `end` is called."""
        try:
            while not self._is_ended:
                self._descriptors.check(self._state.job)
                now = self._clock()
                for step in self._steps:
                    self._errors.attempt(step, now)
                self._errors.attempt(self._listener.tick)
                self._wait(now + self._tick)
        except Exception as error:
            self._descriptors.check(self._state.job)
            # Stop, because nothing guards the job now. The watchdog still ends a hanging process.
            self._log.critical("the pulse thread failed, so the worker stops", exc_info=error)
            self._state.stop(f"the pulse thread failed: {error}", FATAL)
        finally:
            self._listener.close()

    def _wait(self, until: float) -> None:
        while not self._is_ended and (left := until - self._clock()) > 0:
            is_woken, has_input = self._wake.sleep(left, self._listener.fileno())
            if has_input:
                self._errors.attempt(self._listener.receive)
            if is_woken:
                return
