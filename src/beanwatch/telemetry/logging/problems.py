"""ProblemLog: logs a problem when it begins, changes or ends, not each time it occurs."""

import threading

from structlog.typing import FilteringBoundLogger

# Keys may contain names from outside, such as those of spool files.
MAX_PROBLEMS = 1000


class ProblemLog:
    """Remembers the last logged problem of each key, so that repeated problems are logged once.

    Threads may share it. With more than MAX_PROBLEMS keys, the oldest is forgotten, and counted in
    `forgotten`: if its problem occurs again, it is logged again.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self.forgotten = 0
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()

    def report(self, key: str, message: str, **context: object) -> None:
        """Log a problem of `key` as a warning, unless its last report had the same `message`.

        `message` has placeholders `{name}` for `context`, whose values are not compared.
        """
        with self._lock:
            is_news = self._problems.get(key) != message
            if key not in self._problems and len(self._problems) >= MAX_PROBLEMS:
                del self._problems[next(iter(self._problems))]
                self.forgotten += 1
            self._problems[key] = message
        if is_news:
            self._log.warning(message, **context)

    def clear(self, key: str, message: str, **context: object) -> None:
        """Log that a problem of `key` has ended; log nothing if it had none."""
        with self._lock:
            had_problem = self._problems.pop(key, None)
        if had_problem:
            self._log.info(message, **context)
