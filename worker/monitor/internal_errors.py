"""Logs and counts exceptions in sinks, hooks, ticks and closes, so that the worker goes on."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from beanwatch.light_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger  # commands that send messages need no log

LOG_INTERVAL = 10.0  # seconds; shortest time between two log lines about the same part


class CountsErrors(Protocol):
    """Something that has a count of errors."""

    errors: int


class InternalErrors:
    """Logs exceptions, and counts them in `state.errors` for the heartbeat. It is thread-safe."""

    def __init__(
        self,
        state: CountsErrors,
        log: "FilteringBoundLogger",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._log, self._clock = state, log, clock
        self._lock = threading.Lock()
        self._next_line: dict[str, float] = {}  # by part

    def report(
        self, part: str, error: BaseException, log: "FilteringBoundLogger | None" = None
    ) -> None:
        """Count an exception. Log it, but for each `part` (its name) only once per LOG_INTERVAL.

        `log` may carry a job's context. Raises nothing, even if logging fails.
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
        except Exception:  # noqa: S110 - it is counted; there is no other log
            pass

    def attempt(self, call: Callable[..., object], *args: object) -> bool:
        """Run `call(*args)`. If it raises an exception, report that and return False."""
        try:
            call(*args)
        except Exception as error:
            self.report(getattr(call, "__qualname__", repr(call)), error)
            return False
        return True
