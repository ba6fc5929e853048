"""What the worker's threads and signal handlers tell each other."""

import math
import random
import time
from collections.abc import Callable

from beanwatch.worker.core.job import Held
from beanwatch.worker.core.wake import Wake

STOPPED, FATAL, RECYCLED, HARD, DUPLICATE = 0, 1, 10, 11, 12  # exit codes


class Life:
    """Plain attributes, each written whole, so that a reader needs no lock.

    The order of writes matters in one place: whoever wants no more jobs first says so here
    and then interrupts the session (see Session.reserve).
    """

    def __init__(
        self, shutdown_timeout: float = 30.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shutdown_timeout = shutdown_timeout
        self._clock = clock
        self.run = True
        self.code = STOPPED
        self.why = ""  # it stops
        self.patience_ends = math.inf  # monotonic; a job that still runs then is given back
        self.wait_until = 0.0  # monotonic; takes no jobs before
        self.is_ready = False  # was connected once
        self.cut_off = ""  # why beanstalkd cannot be used
        self.disk_full = ""
        self.job: Held | None = None
        self.loop_at = clock()  # the main thread moved last
        self.processed = 0
        self.failed = 0
        self.reconnects = 0
        self.touches = 0
        self.busy_seconds = 0.0
        self.wake = Wake()  # the main thread

    def stop(self, why: str, code: int = STOPPED) -> None:
        """Finish the job in hand, then exit. An order to stop outranks one to start anew.

        Called in every thread, and in signal handlers.
        """
        if self.run or code in (STOPPED, DUPLICATE):
            self.code, self.why = code, why
        if code == STOPPED:  # to start anew can wait for a long job
            self.lose_patience()
        self.run = False
        self.wake.set()

    def lose_patience(self) -> None:
        """From now on there is the shutdown timeout, and no longer."""
        self.patience_ends = min(self.patience_ends, self._clock() + self._shutdown_timeout)

    def force(self) -> None:
        """Told twice: wait for the job no longer."""
        self.patience_ends = self._clock()

    def wait(self, seconds: float) -> None:
        """Take no jobs for so long; 0 ends it."""
        self.wait_until = self._clock() + seconds if seconds else 0.0
        self.wake.set()

    @property
    def is_waiting(self) -> bool:
        """Told to wait, and the time is not over."""
        return self.wait_until > self._clock()

    def wants_jobs(self) -> bool:
        """No reason not to reserve the next job."""
        return self.run and not self.disk_full and (not self.wait_until or not self.is_waiting)

    def state(self, held: Held | None) -> tuple[str, str]:
        """The state of the heartbeat record, and its reason; `held` is what `job` was just now."""
        if not self.run:
            return "stopping", self.why
        if held is not None:
            return "busy", held.trouble
        if self.is_waiting:
            return "waiting", "told to wait"
        if self.cut_off or self.disk_full:
            return "blocked", self.cut_off or self.disk_full
        return "idle" if self.is_ready else "starting", ""

    def sleep(self, seconds: float) -> None:
        """Sleep on the main thread until woken, moving `loop_at` all the while."""
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            self.loop_at = self._clock()
            if self.wake.sleep(min(left, 1.0))[0]:
                return


def spread(seconds: float, *, draw: Callable[[], float] = random.random) -> float:
    """A random moment within so many seconds, so that not all workers restart at once."""
    return draw() * seconds
