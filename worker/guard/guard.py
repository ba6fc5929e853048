"""Touches the running job, and enforces its hard deadline and the shutdown deadline."""

import math
import os
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api.errors import JobStopped, JobTimeout
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.decide import Verdict
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.run import Runner
from beanwatch.worker.core.state import HARD_DEADLINE, WorkerState
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.monitor.host import kill_descendants
from beanwatch.worker.monitor.stacks import dump_stacks

HANDLER_CLEAN_UP_TIME = 2.0  # seconds for a handler to end after JobStopped was raised in it
TOUCH_LOCK_TIMEOUT = 0.3  # seconds that a touch waits for the lock of the connection
PAUSE_LOGGED_AFTER = 10.0  # seconds without a tick, which comes once a second
TAKE_OVER_TIMEOUT = 30.0  # seconds to end the run and to send the last reports
CLEAN_UP_TIMEOUT = 2.0  # seconds of these to remove the job's temporary files
# Seconds after a deadline for the main thread to end a run itself, once it has begun to.
END_MARGIN = 2.0
END_TIMEOUT_AT_SHUTDOWN = 10.0

SHUTDOWN_REASON = "the worker stops and gives the job no more time"


class Guard:
    """Runs in the pulse thread. Ends the process if the main thread does not end its job in time.

    Before the exit, `report_exit(reason)` closes the sinks and writes the last heartbeat. `leave`
    is called with the exit code, and must not return.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        runner: Runner,
        finisher: Finisher,
        state: WorkerState,
        guards: JobGuards,
        report_exit: Callable[[str], object],
        log: FilteringBoundLogger,
        *,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._connection, self._runner, self._finisher = connection, runner, finisher
        self._state, self._alarm, self._watchdog = state, guards.alarm, guards.watchdog
        self._black_box = guards.black_box
        self._ticked_at = math.inf
        self._log, self._report_exit, self._leave = log, report_exit, leave
        self._has_thrown = False

    def tick(self, now: float) -> None:
        """Touch the job every third of its TTR, and enforce the deadlines; `now` is monotonic."""
        job = self._state.job
        self._watchdog.tick(job.hard_deadline if job else 0.0)
        self._report_pause(now)
        if job is not None and now - job.last_touched >= job.stats.ttr / 3:
            self._touch(job, now)
        if job is not None and job.hard_deadline and now >= job.hard_deadline:
            self._enforce_hard_deadline(job, now)
        elif not self._state.is_running and now >= self._state.shutdown_deadline:
            self._enforce_shutdown(job, now)

    def _report_pause(self, now: float) -> None:
        """Log that no Python code ran for a while, with the stacks if the watchdog wrote them."""
        paused, self._ticked_at = now - self._ticked_at, now
        if paused > PAUSE_LOGGED_AFTER:
            stacks = self._black_box.take_idle_stacks()
            self._log.warning(
                "no Python code ran for {seconds:.0f} s: the process was frozen, or C code held "
                "the interpreter lock",
                seconds=paused,
                **({"stacks": stacks} if stacks else {}),
            )

    def _touch(self, job: RunningJob, now: float) -> None:
        if self._connection.touch(TOUCH_LOCK_TIMEOUT):
            job.last_touched = now
            self._state.touches += 1
        if not self._connection.is_open:
            job.connection_problem = (
                "the connection to beanstalkd was lost: another worker may run the job too"
            )
        elif self._connection.job_was_taken_away:
            job.connection_problem = (
                "the TTR of the job has passed: beanstalkd may give the job to another worker"
            )
        elif self._connection.unanswered_touches > 1:
            job.connection_problem = "beanstalkd does not reply to the touches of the job"
        else:
            job.connection_problem = ""

    def _enforce_hard_deadline(self, job: RunningJob, now: float) -> None:
        if job.end_lock.locked():
            self._leave_if_ending_hangs(job, now)
            return
        late = JobTimeout(
            f"the job did not end within {now - job.started_monotonic:.0f} s (hard deadline), "
            "so its worker ended"
        )
        verdict = self._runner.judge(job, late)
        exit_reason = f"{job.name} (job {job.id}) ran past its hard deadline"
        # The end of a worker that was told to stop is no problem.
        self._take_over(job, verdict, exit_reason if self._state.is_running else "")

    def _enforce_shutdown(self, job: RunningJob | None, now: float) -> None:
        if not self._has_thrown:
            self._has_thrown = True
            self._alarm.throw(JobStopped(SHUTDOWN_REASON))
        elif job is not None and job.end_lock.locked():
            self._leave_if_ending_hangs(job, now)
        elif now >= self._state.shutdown_deadline + HANDLER_CLEAN_UP_TIME:
            verdict = Verdict("retry", "release", SHUTDOWN_REASON)
            self._take_over(job, verdict, "")

    def _take_over(self, job: RunningJob | None, verdict: Verdict, exit_reason: str) -> None:
        """End the run in place of the main thread, then exit from the process."""
        if job is not None and not job.end_lock.acquire(blocking=False):
            return  # the main thread ends the run itself
        # A supervisor starts the worker again after HARD_DEADLINE, also one that was told to stop.
        code = HARD_DEADLINE if self._state.is_running else self._state.exit_code
        try:
            self._watchdog.tick(time.monotonic() + TAKE_OVER_TIMEOUT)
            stacks = dump_stacks()
            killed = kill_descendants()
            self._log.critical(
                "the main thread did not end in time, so the worker exits with {code}: {reason}",
                code=code,
                reason=verdict.reason,
                child_processes_killed=killed,
                stacks=stacks,
            )
            if job is not None:
                self._finisher.end(job, verdict)
                self._runner.clean_up(job, CLEAN_UP_TIMEOUT)
            self._report_exit(exit_reason)
        except Exception as error:
            self._log.critical("the exiting worker could not report its last run", exc_info=error)
        finally:
            self._leave(code)

    def _leave_if_ending_hangs(self, job: RunningJob, now: float) -> None:
        """Exit if the main thread has not ended the run of `job` in time."""
        # Read it again: the main thread sets another deadline when it begins to end the run.
        end = job.hard_deadline + END_MARGIN
        if not self._state.is_running:
            end = min(end, self._state.shutdown_deadline + END_TIMEOUT_AT_SHUTDOWN)
        if now >= end:
            reason = f"the worker hung while it ended the run of {job.name} (job {job.id})"
            self._take_over(None, Verdict("lost", "release", reason), reason)
