"""Exceptions in sinks, hooks, ticks and closes: logged and counted, and the worker goes on."""

import threading
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.core.state import WorkerState

LOG_INTERVAL = 10.0  # seconds between two log lines about the same part


class InternalErrors:
    """Counts in `state.errors`, which the heartbeat shows. For all threads."""

    def __init__(
        self,
        state: WorkerState,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._log, self._clock = state, log, clock
        self._lock = threading.Lock()
        self._next_line: dict[str, float] = {}  # by part

    def report(
        self, part: str, error: BaseException, log: FilteringBoundLogger | None = None
    ) -> None:
        """Count an exception of `part`, and log it unless its last line is too recent.

        `log` may carry a job's context. Raises nothing, even if the log itself fails.
        """
        with self._lock:
            self._state.errors += 1
            now = self._clock()
            if now < self._next_line.get(part, now):
                return
            self._next_line[part] = now + LOG_INTERVAL
        try:
            (log or self._log).error(
                "{part} failed, the worker goes on", part=part, errors=self._state.errors,
                exc_info=error,
            )  # fmt: skip
        except Exception:  # noqa: S110 - it is counted, and there is nowhere else to log it
            pass

    def attempt(self, call: Callable[..., object], *args: object) -> bool:
        """Call it. If it raises, report that and return False."""
        try:
            call(*args)
        except Exception as error:
            self.report(getattr(call, "__qualname__", repr(call)), error)
            return False
        return True
