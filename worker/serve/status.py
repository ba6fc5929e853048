"""StatusMaker: makes the worker's status, for /livez, /readyz and the file of `beanwatch_probe`."""

import math
import os
import time
from collections.abc import Callable

from beanwatch.store.health import LOOP_MARGIN
from beanwatch.store.worker_status import WorkerStatus
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.guard.status_file import StatusFile


class StatusMaker:
    """Makes the status from the worker's state, in any thread. Nothing can block it.

    `reserve_timeout` (seconds) is how long the main thread waits for a job.
    """

    def __init__(
        self,
        state: WorkerState,
        connection: WorkerConnection,
        reserve_timeout: float,
        file: StatusFile,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._connection = state, connection
        self._max_idle = reserve_timeout + LOOP_MARGIN
        self._file, self._clock = file, clock
        self._pid = os.getpid()

    def make(self) -> WorkerStatus:
        """Return the status of this moment."""
        state = self._state
        job = state.job
        ends_at = 0.0
        if not state.is_running and not math.isinf(state.shutdown_deadline):
            ends_at = state.shutdown_deadline
        return WorkerStatus(
            self._pid,
            self._clock(),
            state.loop_at,
            self._max_idle,
            ends_at,
            self._connection.is_open and state.is_running,
            state.state(job)[1],
            job.hard_deadline if job else 0.0,
        )

    def tick(self, now: float) -> None:
        """Write the status into the file."""
        self._file.write(self.make())
