"""ProblemLog: logs a problem when it begins, changes or ends, not each time it occurs."""

import threading

from structlog.typing import FilteringBoundLogger


class ProblemLog:
    """Remembers the last logged problem of each key, so that repeated problems are logged once.

    Threads may share it.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()

    def report(self, key: str, message: str, **context: object) -> None:
        """Log a problem of `key` as a warning, unless its last report had the same `message`.

        `message` has placeholders `{name}` for `context`, whose values are not compared.
        """
        with self._lock:
            is_news = self._problems.get(key) != message
            self._problems[key] = message
        if is_news:
            self._log.warning(message, **context)

    def clear(self, key: str, message: str, **context: object) -> None:
        """Log that a problem of `key` has ended; log nothing if it had none."""
        with self._lock:
            had_problem = self._problems.pop(key, None)
        if had_problem:
            self._log.info(message, **context)
