"""Guards the running job: touches, the hard deadline, the shutdown deadline."""

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
from beanwatch.worker.guard.host import kill_descendants
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.guard.stacks import dump_stacks

HANDLER_CLEAN_UP_TIME = 2.0  # seconds, after JobStopped was raised in a handler
TOUCH_LOCK_TIMEOUT = 0.3  # seconds
TAKE_OVER_TIMEOUT = 30.0  # seconds to end the run and to report before the exit


class Guard:
    """Runs in the pulse thread; ends the process if the main thread does not.

    `last_words` closes the sinks and writes the last heartbeat before the exit.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        runner: Runner,
        finisher: Finisher,
        state: WorkerState,
        guards: JobGuards,
        last_words: Callable[[str], object],
        log: FilteringBoundLogger,
        *,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._connection, self._runner, self._finisher = connection, runner, finisher
        self._state, self._alarm, self._watchdog = state, guards.alarm, guards.watchdog
        self._log, self._last_words, self._leave = log, last_words, leave
        self._has_thrown = False

    def tick(self, now: float) -> None:
        """Do what is due at `now` (monotonic)."""
        job = self._state.job
        self._watchdog.tick(job.hard_deadline if job else 0.0)
        if job is not None and now - job.last_touched >= job.stats.ttr / 3:
            self._touch(job, now)
        if job is not None and job.hard_deadline and now >= job.hard_deadline:
            self._kill(job, now)
        elif not self._state.is_running and now >= self._state.shutdown_deadline:
            self._enforce_shutdown(job, now)

    def _touch(self, job: RunningJob, now: float) -> None:
        if self._connection.touch(TOUCH_LOCK_TIMEOUT):
            job.last_touched = now
            self._state.touches += 1
        if not self._connection.is_open:
            job.connection_problem = (
                "beanstalkd is gone: another worker may have been given the job"
            )
        elif self._connection.job_was_taken_away:
            job.connection_problem = "beanstalkd gave the job to another worker: its TTR was over"
        elif self._connection.unanswered_touches > 1:
            job.connection_problem = "beanstalkd does not answer"
        else:
            job.connection_problem = ""

    def _kill(self, job: RunningJob, now: float) -> None:
        late = JobTimeout(f"it did not end within {now - job.began:.0f} s and was killed")
        verdict = self._runner.judge(job, late)
        words = f"hard deadline of {job.name} (job {job.id})"
        self._take_over(job, verdict, HARD_DEADLINE, words)

    def _enforce_shutdown(self, job: RunningJob | None, now: float) -> None:
        if not self._has_thrown:
            self._has_thrown = True
            self._alarm.throw(JobStopped("the worker had to stop"))
        elif now >= self._state.shutdown_deadline + HANDLER_CLEAN_UP_TIME:
            verdict = Verdict("retry", "release", "the worker had to stop")
            self._take_over(job, verdict, self._state.exit_code, "")

    def _take_over(self, job: RunningJob | None, verdict: Verdict, code: int, words: str) -> None:
        """End the run in place of the main thread, then exit."""
        if job is not None and not job.end_lock.acquire(blocking=False):
            return  # the main thread has just come back
        try:
            self._watchdog.tick(time.monotonic() + TAKE_OVER_TIMEOUT)
            stacks = dump_stacks()
            killed = kill_descendants()
            self._log.critical(
                "the main thread does not end, exit {code}: {reason}",
                code=code,
                reason=verdict.reason,
                child_processes_killed=killed,
                stacks=stacks,
            )
            if job is not None:
                self._finisher.end(job, verdict)
                self._runner.clean_up(job)
            self._last_words(words)
        except Exception as error:
            self._log.critical("the worker could not report its end", exc_info=error)
        finally:
            self._leave(code)
