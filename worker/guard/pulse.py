"""The pulse thread: what goes on while the main thread is in a job, or stuck.

It waits for control messages and for the next tick, and at each tick guards the job in
hand, then tells the world. Nothing in it waits for longer than a tick.
"""

import threading
import time
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.control.listener import Listener
from beanwatch.worker.core.state import FATAL, Life
from beanwatch.worker.core.wake import Wake

TICK = 1.0  # seconds


class Pulse(threading.Thread):
    """Calls `steps` in their order, with the monotonic time, once a tick."""

    def __init__(
        self,
        steps: Sequence[Callable[[float], None]],
        listener: Listener,
        life: Life,
        wake: Wake,
        log: FilteringBoundLogger,
        *,
        tick: float = TICK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="pulse", daemon=True)
        self._steps, self._listener = steps, listener
        self._life, self._log, self._clock = life, log, clock
        self._tick = min(tick, TICK)
        self._is_over = False
        self._wake = wake

    def hurry(self, tick: float) -> None:
        """Tick at least as often as this from now on: a job with a short time to run came."""
        if tick < self._tick:
            self._tick = max(0.05, tick)
            self._wake.set()

    def end(self, timeout: float) -> None:
        """Stop ticking, and wait for the last tick to end."""
        self._is_over = True
        self._wake.set()
        self.join(timeout)

    def run(self) -> None:
        """Tick until told to end."""
        try:
            while not self._is_over:
                now = self._clock()
                for step in self._steps:
                    step(now)
                self._listener.tick()
                self._wait(now + self._tick)
        except Exception as error:
            # Without a pulse nobody guards the job: stop. The watchdog stands behind it.
            self._log.critical("the pulse failed", exc_info=error)
            self._life.stop(f"the pulse failed: {error}", FATAL)
        finally:
            self._listener.close()

    def _wait(self, until: float) -> None:
        while not self._is_over and (left := until - self._clock()) > 0:
            is_woken, is_told = self._wake.sleep(left, self._listener.fileno())
            if is_told:
                self._listener.receive()
            if is_woken:
                return
