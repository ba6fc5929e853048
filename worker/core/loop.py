"""The main thread: connect, reserve, run, acknowledge, until told to stop."""

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.core.connection import ConnectionLostError, WorkerConnection
from beanwatch.worker.core.connection_protocol import Reserved
from beanwatch.worker.core.decide import decide_reconnect
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.run import Runner
from beanwatch.worker.core.state import RECYCLED, WorkerState
from beanwatch.worker.guard.pulse import Pulse

CLEAN_UP_TIMEOUT = 60.0  # seconds to remove a job's temporary files
SIGNAL_CHECK_INTERVAL = 1.0  # seconds between two checks of the signal handlers


class Loop:
    """Takes jobs one by one, until `state.is_running` is false and no job is reserved."""

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
        self._failures = 0  # of the connection, in a row

    def run(self) -> None:
        """Work until told to stop."""
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
                    connection.close()  # otherwise a pending reserve would take one more job
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
        """Log once that the server is gone, and sleep longer after each failure."""
        if not self._state.cut_off:
            self._log.warning("cut off from beanstalkd: {reason}", reason=reason)
        self._state.cut_off = reason
        self._failures += 1
        self._state.sleep(decide_reconnect(self._failures))

    def _on_connection_lost(self, error: ConnectionLostError) -> None:
        if self._state.wants_jobs():  # otherwise the worker itself may have closed it
            self._state.reconnects += 1
            self._back_off(str(error))

    def _take_job(self) -> None:
        try:
            reserved = self._connection.reserve(self._state.wants_jobs)
        except ConnectionLostError as error:
            self._on_connection_lost(error)
            return
        # Only a reply to a reserve shows that the server works; a connect does not.
        self._failures = 0
        if self._state.cut_off:
            address = str(self._connection.address)
            self._log.info("back with beanstalkd at {address}", address=address)
            self._state.cut_off = ""
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
        # A stop that came during the reserve is treated as one that comes now: the job runs.
        verdict, raised = self._runner.run(job, disk_full=state.disk_full)
        if not job.end_lock.acquire(blocking=False):
            while True:  # the pulse is ending this run, and then the process
                time.sleep(60)
        # A disk that hangs must not hang the worker for good.
        job.hard_deadline = self._monotonic() + CLEAN_UP_TIMEOUT
        self._runner.clean_up(job)
        job.hard_deadline = 0.0
        if self._max_jobs and state.processed + 1 >= self._max_jobs:
            state.stop(f"{state.processed + 1} jobs done, as many as it may", RECYCLED)
        self._finisher.end(job, verdict, raised, and_reserve=state.wants_jobs())
        self._runner.forget()
        state.job = None
