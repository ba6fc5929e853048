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

    Times are monotonic. Any thread may change the state. `reports_jobs` is False for a program of
    which nobody knows whether it runs a job: it counts as busy, until it reports the first one.
    """

    def __init__(
        self, *, reports_jobs: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.reports_jobs = reports_jobs
        self._lock = threading.Lock()
        self.loop_at = clock()
        self.is_ready = False
        self.blocked_by = ""  # why it cannot take jobs
        self.is_disconnected = False  # that is because it cannot use its queue server
        self.paused_by = ""  # why it takes no jobs, on purpose
        self.status = ""  # what it says about itself
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
        self.is_ready = self.reports_jobs = True
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
            return "busy", self.blocked_by or self.status, False
        if self.paused_by:
            return "waiting", self.paused_by, False
        if self.blocked_by:
            return "blocked", self.blocked_by, self.is_disconnected
        if not self.is_ready:
            return "starting", self.status, False
        return ("idle" if self.reports_jobs else "busy"), self.status, False
