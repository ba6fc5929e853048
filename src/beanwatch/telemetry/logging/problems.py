"""Log a problem when it begins, changes or ends, not each time it is seen."""

import threading

from structlog.typing import FilteringBoundLogger


class ProblemLog:
    """Remembers for each key which problem was logged last. Safe to use from many threads."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()

    def report(self, key: str, message: str, **context: object) -> None:
        """`key` has this problem; a warning is logged unless it was the same the last time."""
        with self._lock:
            is_news = self._problems.get(key) != message
            self._problems[key] = message
        if is_news:
            self._log.warning(message, **context)

    def clear(self, key: str, message: str, **context: object) -> None:
        """`key` has no problem; this is logged if it had one."""
        with self._lock:
            had_problem = self._problems.pop(key, None)
        if had_problem:
            self._log.info(message, **context)
