"""Runs the main thread's loop: connect, reserve a job, run it, acknowledge it, repeat."""

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.core.connection import ConnectionLostError, WorkerConnection
from beanwatch.worker.core.connection_protocol import Reserved
from beanwatch.worker.core.decide import decide_reconnect
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.run import Runner
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.guard.pulse import Pulse

CLEAN_UP_TIMEOUT = 60.0  # seconds for removing a job's temporary files
END_TIMEOUT = 30.0  # seconds more to acknowledge the job and to report its run
SIGNAL_CHECK_INTERVAL = 1.0  # seconds between two checks that no job replaced a signal handler


class Loop:
    """Runs one job after the other until `state.is_running` is false and no job is reserved."""

    def __init__(
        self,
        connection: WorkerConnection,
        runner: Runner,
        finisher: Finisher,
        state: WorkerState,
        pulse: Pulse,
        keep_signals: Callable[[], None],
        log: FilteringBoundLogger,
        *,
        max_jobs: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._runner, self._finisher = connection, runner, finisher
        self._state, self._pulse, self._log = state, pulse, log
        self._max_jobs = max_jobs
        self._keep_signals, self._monotonic = keep_signals, monotonic
        self._next_signal_check = 0.0
        self._failures = 0  # connects and reserves that failed since the last reply to a reserve

    def run(self) -> None:
        """Run jobs until the worker is stopped, then close the connection."""
        state, connection = self._state, self._connection
        try:
            while state.is_running or connection.reserve_is_pipelined:
                state.loop_at = now = self._monotonic()
                if now >= self._next_signal_check:
                    self._next_signal_check = now + SIGNAL_CHECK_INTERVAL
                    self._keep_signals()
                if connection.reserve_is_pipelined or (connection.is_open and state.wants_jobs()):
                    self._take_job()
                elif state.wants_jobs():
                    self._connect()
                else:
                    connection.close()  # otherwise the server could still hand out a job to it
                    state.sleep(1.0)
        finally:
            connection.close()

    def _connect(self) -> None:
        try:
            self._connection.open()
            self._state.is_ready = True
        except ConnectionLostError as error:
            self._back_off(str(error))

    def _back_off(self, reason: str) -> None:
        """Log the failure if it is the first in a row, then sleep, longer for each failure."""
        if not self._state.connection_error:
            self._log.warning(
                "the connection to beanstalkd failed, the worker retries: {reason}", reason=reason
            )
        self._state.connection_error = reason
        self._failures += 1
        self._state.sleep(decide_reconnect(self._failures))

    def _on_connection_lost(self, error: ConnectionLostError) -> None:
        if self._state.wants_jobs():  # otherwise the worker may have closed the connection itself
            self._state.reconnects += 1
            self._back_off(str(error))

    def _take_job(self) -> None:
        try:
            reserved = self._connection.reserve(self._state.wants_jobs)
        except ConnectionLostError as error:
            self._on_connection_lost(error)
            return
        # Only a reply to a reserve proves that the server works; a connect does not.
        self._failures = 0
        if self._state.connection_error:
            address = str(self._connection.address)
            self._log.info("beanstalkd at {address} works again", address=address)
            self._state.connection_error = ""
        if reserved is not None:
            self._work_on(reserved)

    def _work_on(self, reserved: Reserved) -> None:
        state = self._state
        try:
            job = RunningJob(reserved, self._connection.job_stats(reserved.id))
        except ConnectionLostError as error:
            self._on_connection_lost(error)
            return
        state.job = job
        self._pulse.tick_within(job.stats.ttr / 3)
        # If the worker was stopped during the reserve, the job runs nevertheless.
        verdict = self._runner.run(job, disk_full=state.disk_full)
        if not job.end_lock.acquire(blocking=False):
            while True:  # the pulse thread ends this run, then the process
                time.sleep(60)
        # If this thread hangs now, the pulse thread ends the process at this deadline.
        job.hard_deadline = self._monotonic() + CLEAN_UP_TIMEOUT + END_TIMEOUT
        job.deadline = max(job.deadline, job.hard_deadline - job.grace)
        self._runner.clean_up(job, CLEAN_UP_TIMEOUT, state.is_shutdown_due)
        if self._max_jobs and state.processed + 1 >= self._max_jobs:
            state.recycle(f"it has run {state.processed + 1} jobs (--max-jobs)")
        self._finisher.end(job, verdict, job.error, and_reserve=state.wants_jobs())
        # First: without a job, a loop that has not moved for so long would count as stuck.
        state.loop_at = self._monotonic()
        state.job = None
        # Their frames refer to the job, which would wait for garbage collection.
        job.error = None
        job.forget_place()
