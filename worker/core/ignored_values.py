"""Counts and logs the values in envelopes that the worker ignores, because they cannot be right."""

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.core.state import WorkerState

LOG_INTERVAL = 60.0  # seconds between two log lines: every job of a producer may have such a value


class IgnoredValues:
    """Counts ignored values in `state.ignored_values`, for the heartbeat, and logs some of them."""

    def __init__(
        self,
        state: WorkerState,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._log, self._clock = state, log, clock
        self._next_line = 0.0

    def report(self, problem: str, queue: str, job_id: int) -> None:
        """Count one value. `problem` names the field and says why the value is ignored."""
        self._state.ignored_values += 1
        now = self._clock()
        if now >= self._next_line:
            self._next_line = now + LOG_INTERVAL
            self._log.warning(
                "ignored a value in the envelope of job {job_id} of queue {queue}, "
                "{ignored} since the start: {problem}",
                job_id=job_id,
                queue=queue,
                ignored=self._state.ignored_values,
                problem=problem,
            )
