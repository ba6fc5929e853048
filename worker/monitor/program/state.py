"""ProgramState: what a watched program does now, as its monitor knows it."""

import math
import threading
import time
from collections.abc import Callable

from beanwatch.outcomes import OUTCOMES
from beanwatch.worker.monitor.heartbeat.heartbeat_record import Activity
from beanwatch.worker.monitor.jobs import ObservedJob
from beanwatch.worker.monitor.runs import Run

FAILURES = frozenset(outcome.name for outcome in OUTCOMES if outcome.is_failure)


class ProgramState:
    """Holds the state of a watched program. Each attribute is assigned in one step.

    Times are monotonic. Any thread may change the state.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
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

    def restart(self) -> None:
        """Forget an earlier stop: the program is watched again."""
        self.is_stopping, self.stop_reason, self.shutdown_deadline = False, "", math.inf

    def begin(self, job: ObservedJob) -> None:
        """Count a job as running."""
        self.is_ready = True
        self.running[id(job)] = job

    def end(self, job: ObservedJob, result: Run, *, loop_has_moved: bool) -> bool:
        """Count a run as ended. Return False if it is not one of this process.

        `loop_has_moved`: it is the main loop that ran the job.
        """
        if self.running.pop(id(job), None) is None:
            return False
        if loop_has_moved:
            self.loop_at = self._clock()
        with self._lock:  # several threads end their runs
            self.processed += 1
            self.failed += result.outcome in FAILURES
            self.busy_seconds += result.duration
        return True

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
