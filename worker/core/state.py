"""The state of a worker, which its threads and signal handlers share."""

import math
import random
import time
from collections.abc import Callable

from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.wake import Wake

# Exit codes; docs/reference.md lists them.
STOPPED, FATAL, RECYCLED, HARD_DEADLINE, DUPLICATE = 0, 1, 10, 11, 12


class WorkerState:
    """Plain attributes, each assigned in one step, so that readers need no lock.

    One order of writes matters: to stop taking jobs, first say so here and then interrupt the
    connection (see WorkerConnection.reserve).
    """

    def __init__(
        self, shutdown_timeout: float = 30.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shutdown_timeout = shutdown_timeout
        self._clock = clock
        self.is_running = True
        self.exit_code = STOPPED
        self.stop_reason = ""
        self.shutdown_deadline = math.inf  # monotonic; a job that still runs then is given back
        self.wait_until = 0.0  # monotonic; takes no jobs before
        self.is_ready = False  # has been connected
        self.cut_off = ""  # why beanstalkd cannot be used
        self.disk_full = ""  # why no jobs are taken
        self.job: RunningJob | None = None
        self.loop_at = clock()  # when the main thread last moved
        self.processed = 0
        self.failed = 0
        self.reconnects = 0
        self.touches = 0
        self.busy_seconds = 0.0
        self.errors = 0  # exceptions in the worker's own parts and in hooks
        self.wake = Wake()  # wakes the main thread

    def stop(self, reason: str, code: int = STOPPED) -> None:
        """Finish the current job, then exit. Any thread and any signal handler may call this.

        An order to stop replaces an earlier order to restart, but not the other way round.
        """
        if self.is_running or code in (STOPPED, DUPLICATE):
            self.exit_code, self.stop_reason = code, reason
        if code == STOPPED:  # a restart can wait for a long job
            self.start_shutdown_timer()
        self.is_running = False
        self.wake.set()

    def start_shutdown_timer(self) -> None:
        """Give the current job the shutdown timeout from now on, unless less is left already."""
        self.shutdown_deadline = min(self.shutdown_deadline, self._clock() + self._shutdown_timeout)

    def shut_down_now(self) -> None:
        """Give the current job no more time."""
        self.shutdown_deadline = self._clock()

    def wait(self, seconds: float) -> None:
        """Take no jobs for so many seconds; 0 ends the wait."""
        self.wait_until = self._clock() + seconds if seconds else 0.0
        self.wake.set()

    @property
    def is_waiting(self) -> bool:
        """True while an operator's `wait` lasts."""
        return self.wait_until > self._clock()

    def wants_jobs(self) -> bool:
        """True if there is no reason not to reserve the next job."""
        return (
            self.is_running and not self.disk_full and (not self.wait_until or not self.is_waiting)
        )

    def state(self, job: RunningJob | None) -> tuple[str, str]:
        """The heartbeat's `state` and `reason`. `job` is `self.job` as the caller just read it."""
        if not self.is_running:
            return "stopping", self.stop_reason
        if job is not None:
            return "busy", job.connection_problem
        if self.is_waiting:
            return "waiting", "told to wait"
        if self.cut_off or self.disk_full:
            return "blocked", self.cut_off or self.disk_full
        return "idle" if self.is_ready else "starting", ""

    def sleep(self, seconds: float) -> None:
        """Sleep on the main thread until woken; `loop_at` keeps moving."""
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            self.loop_at = self._clock()
            if self.wake.sleep(min(left, 1.0))[0]:
                return


def random_delay(seconds: float, *, draw: Callable[[], float] = random.random) -> float:
    """A random delay of up to `seconds`, so that not all workers restart at once."""
    return draw() * seconds
