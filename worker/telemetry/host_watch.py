"""HostWatch: stops or pauses the worker at limits of memory, free disk space and running time."""

import time
from collections.abc import Callable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.guard.host import TemporaryRoot, read_rss


class HostLimits(NamedTuple):
    """The limits at which a worker stops or pauses; 0 means no limit."""

    min_free_disk: int = 0  # bytes, on the file system of the jobs' temporary directories
    max_memory: float = 0.0  # bytes of resident memory
    max_time: float = 0.0  # seconds since the worker's start


class HostWatch:
    """Measures memory and free disk space at each tick, and enforces the limits.

    `rss` and `disk_free` are the bytes measured at the last tick. Above `max_memory`, or after
    `max_time`, the worker exits with code 10, so that its supervisor restarts it, but not while an
    operator has paused it (`wait`). Below `min_free_disk` it takes no jobs until enough space is
    free.
    """

    def __init__(
        self,
        state: WorkerState,
        connection: WorkerConnection,
        temporary: TemporaryRoot,
        limits: HostLimits,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rss = 0
        self.disk_free = 0
        self._state, self._connection, self._temporary = state, connection, temporary
        self._limits, self._log = limits, log
        self._ends_at = clock() + limits.max_time if limits.max_time else 0.0

    def tick(self, now: float) -> None:
        """Measure, and stop or pause the worker at a limit. `now` is monotonic, in seconds."""
        self.rss = read_rss()
        if not self._state.is_waiting:
            if self._limits.max_memory and self.rss > self._limits.max_memory:
                self._recycle(f"it uses {self.rss >> 20} MiB of memory, over its limit")
            if self._ends_at and now >= self._ends_at:
                self._recycle("it has run for max_time")
        try:
            self.disk_free = self._temporary.free()
        except OSError as error:
            self._state.disk_full = f"cannot use the temporary directory: {error.strerror}"
        else:
            self._check_disk()

    def _recycle(self, limit: str) -> None:
        if self._state.is_running:
            self._state.recycle(limit)
            self._connection.interrupt()

    def _check_disk(self) -> None:
        state, least = self._state, self._limits.min_free_disk
        is_full = self.disk_free < least
        if is_full and not state.disk_full:
            reason = f"only {self.disk_free >> 20} MiB of disk are free, under {least >> 20} MiB"
            self._log.warning("the worker takes no jobs: {reason}", reason=reason)
            state.disk_full = reason
            self._connection.interrupt()
        elif not is_full and state.disk_full:
            self._log.info("the worker takes jobs again: enough disk space is free")
            state.disk_full = ""
            state.wake.set()


def stop_once(state: WorkerState, connection: WorkerConnection, why: str, code: int) -> None:
    """Stop the worker with a reason and an exit code, unless it is already stopping.

    A worker that is waiting for a job stops waiting. A running job is finished first.
    """
    if state.is_running:
        state.stop(why, code)
        connection.interrupt()
