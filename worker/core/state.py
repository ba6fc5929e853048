"""Holds the state of a worker, which its threads and signal handlers share."""

import math
import time
from collections.abc import Callable

from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.wake import Wake
from beanwatch.worker.monitor.heartbeat.heartbeat_record import Activity
from beanwatch.worker.monitor.heartbeat.heartbeat_reporter import Ending

# Exit codes; docs/reference.md lists them.
STOPPED, FATAL, USAGE, RECYCLED, HARD_DEADLINE, DUPLICATE, NO_APP = 0, 1, 2, 10, 11, 12, 13


class WorkerState:
    """Holds the state of a worker. Each attribute is assigned in one step, so no lock is needed.

    To stop the worker from taking jobs, first change this state and then interrupt the connection:
    WorkerConnection.reserve relies on this order.
    """

    def __init__(
        self, shutdown_timeout: float = 30.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shutdown_timeout = shutdown_timeout
        self._clock = clock
        self.is_running = True
        self.exit_code = STOPPED
        self.stop_reason = ""
        self.is_recycled = False  # it stops because it has reached a limit (--max-...)
        self.is_stopped_by_command = False  # somebody sent a command, who may not be known
        self.shutdown_deadline = math.inf  # monotonic; a job that still runs then is released
        self.wait_until = 0.0  # monotonic; no job is reserved before
        self._wait_origin = ""
        self.is_ready = False  # the worker has connected once
        self.connection_error = ""  # why beanstalkd cannot be used; "": it can
        self.restart_refused = ""  # why it did not obey the last order to restart
        self.disk_full = ""  # why no jobs are reserved; "": the disk has room
        self.job: RunningJob | None = None
        self.loop_at = clock()  # monotonic; last activity of the main thread
        self.processed = 0
        self.failed = 0
        self.reconnects = 0
        self.touches = 0
        self.busy_seconds = 0.0
        self.ignored_values = 0  # values in envelopes that cannot be right
        self.errors = 0  # exceptions in sinks, hooks, ticks and closes
        self.wake = Wake()  # wakes the main thread

    def stop(self, reason: str, code: int = STOPPED) -> None:
        """Finish the current job, then exit. Any thread and any signal handler may call this.

        A stop replaces an earlier restart, but a restart does not replace an earlier stop.
        """
        if self.is_running or code in (STOPPED, DUPLICATE):
            self.exit_code, self.stop_reason = code, reason
        if code == STOPPED:  # a restart can wait for a long job
            self.start_shutdown_timer()
        self.is_running = False
        self.wake.set()

    def recycle(self, limit: str) -> None:
        """Finish the current job, then exit to be restarted: `limit` says which one is reached."""
        if self.is_running:
            self.is_recycled = True
            self.stop(limit, RECYCLED)

    def start_shutdown_timer(self) -> None:
        """Set the shutdown deadline to the shutdown timeout from now; an earlier one stays."""
        self.shutdown_deadline = min(self.shutdown_deadline, self._clock() + self._shutdown_timeout)

    def is_shutdown_due(self) -> bool:
        """Return True if the worker stops and the shutdown deadline has passed."""
        return not self.is_running and self._clock() >= self.shutdown_deadline

    def shut_down_now(self) -> None:
        """Set the shutdown deadline to now, so that the current job is stopped and released."""
        self.shutdown_deadline = self._clock()

    def wait(self, seconds: float, origin: str = "") -> None:
        """Reserve no jobs for `seconds`; 0 ends an earlier wait. `origin` says who wants this."""
        self._wait_origin = origin
        self.wait_until = self._clock() + seconds if seconds else 0.0
        self.wake.set()

    @property
    def is_waiting(self) -> bool:
        """Return True while the worker reserves no jobs because an operator sent `wait`."""
        return self.wait_until > self._clock()

    def wants_jobs(self) -> bool:
        """Return True if the worker runs, does not wait, and has enough free disk for a job."""
        return (
            self.is_running and not self.disk_full and (not self.wait_until or not self.is_waiting)
        )

    def state(self, job: RunningJob | None) -> tuple[str, str]:
        """Return `state` and `reason` for the heartbeat.

        Pass `self.job` as `job`. The caller reads it once, because the main thread may change it.
        """
        if not self.is_running:
            return "stopping", self.stop_reason
        if job is not None:
            return "busy", job.connection_problem
        if self.is_waiting:
            by = f": {self._wait_origin}" if self._wait_origin else ""
            return "waiting", f"an operator sent the command `wait`{by}"
        if self.connection_error or self.disk_full:
            return "blocked", self.connection_error or self.disk_full
        return "idle" if self.is_ready else "starting", ""

    def activity(self) -> Activity:
        """Return what the worker does at this moment, for its record."""
        job = self.job
        state, reason = self.state(job)
        is_disconnected = state == "blocked" and bool(self.connection_error)
        return Activity((job,) if job else (), state, reason, is_disconnected)

    def counters(self) -> dict[str, int]:
        """Return the counters that are series of the worker, by name."""
        return {"reconnects": self.reconnects, "touches": self.touches}

    def ending(self) -> Ending:
        """Return how the worker came to its end."""
        return Ending(
            self.exit_code in (STOPPED, RECYCLED),
            self.stop_reason,
            self.is_stopped_by_command,
            self.stop_reason if self.is_recycled else "",
            keeps_recycles=self.exit_code != STOPPED,
        )

    def sleep(self, seconds: float) -> None:
        """Sleep in the main thread until woken, and update `loop_at` at least once a second."""
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            self.loop_at = self._clock()
            if self.wake.sleep(min(left, 1.0))[0]:
                return
