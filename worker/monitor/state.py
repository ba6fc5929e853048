"""ProgramState: what a watched program does now, as its monitor knows it."""

import math
import time
from collections.abc import Callable

from beanwatch.worker.monitor.heartbeat_record import Activity
from beanwatch.worker.monitor.jobs import ObservedJob


class ProgramState:
    """Holds the state of a watched program. Each attribute is assigned in one step.

    Times are monotonic. Any thread may change the state.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.loop_at = clock()
        self.is_ready = False
        self.blocked_by = ""  # why it cannot take jobs
        self.is_disconnected = False  # that is because it cannot use its queue server
        self.paused_by = ""  # why it takes no jobs, on purpose
        self.stop_reason = ""
        self.is_stopping = False
        self.shutdown_deadline = math.inf
        self.processed = self.failed = self.errors = 0
        self.busy_seconds = 0.0  # of jobs that have ended
        self.ignored_values: int | None = None
        self.restart_refused = ""
        # By the identity of the run: two runs may have the same id.
        self.running: dict[int, ObservedJob] = {}

    def activity(self) -> Activity:
        """Return what the program does at this moment, for its record."""
        jobs = tuple(self.running.copy().values())
        return Activity(jobs, *self._describe(bool(jobs)))

    def _describe(self, is_busy: bool) -> tuple[str, str, bool]:
        if self.is_stopping:
            return "stopping", self.stop_reason, False
        if is_busy:
            return "busy", self.blocked_by, False
        if self.paused_by:
            return "waiting", self.paused_by, False
        if self.blocked_by:
            return "blocked", self.blocked_by, self.is_disconnected
        return ("idle" if self.is_ready else "starting"), "", False
