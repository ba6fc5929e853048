"""Restarter: carries out orders to restart, after a check that the next instance can start."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.control.restart_check import RestartCheck
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.state import RECYCLED, WorkerState


class Restarter:
    """Restarts the worker, unless the next instance could not start: then the worker runs on.

    The check takes seconds, so it runs in a thread. The heartbeat shows why the worker runs on,
    until a later check succeeds.
    """

    def __init__(
        self,
        check: RestartCheck,
        state: WorkerState,
        connection: WorkerConnection,
        log: FilteringBoundLogger,
    ) -> None:
        self._check, self._state, self._connection, self._log = check, state, connection, log

    def restart(self, why: str, answer: Callable[[bool, str], object] | None = None) -> None:
        """Check, then restart for the reason `why`. `answer` gets the result and a text;
        only a command that somebody sent to this worker has one.

        A restart is not started twice: if a check runs already, only that one's result counts.
        """
        if self._check.is_running:
            if answer is not None:
                answer(False, "a restart is being checked already, it follows if that succeeds")
            return
        self._check.start(lambda fault: self._finish(why, fault, answer))

    def _finish(self, why: str, fault: str, answer: Callable[[bool, str], object] | None) -> None:
        state, job = self._state, self._state.job
        state.restart_refused = fault
        text = f"restarts{f' after {job.name} (job {job.id})' if job else ''}"
        if fault:
            text = f"does not restart, the next instance could not start: {fault}"
            self._log.error("the worker {text}", text=text)
        if answer is not None:  # before the stop: an idle worker has exited a moment later
            answer(not fault, text)
        if not fault and state.is_running:
            state.is_stopped_by_command = answer is not None
            state.stop(why, RECYCLED)
            self._connection.interrupt()
