"""The collector's own log: one line an event on stderr, for journald, cron's mail or a person."""

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

# PSR-3 levels by Monolog's numbers, as in the workers' logs: one pipeline reads both.
LEVELS = {"info": 200, "warning": 300, "error": 400}


class Log:
    """Writes JSON lines or, with `style` "console", plain text, to `stream` or to the file `path`.

    Never raises but when it is made: OSError if the file cannot be opened.
    """

    def __init__(
        self,
        style: str = "json",
        stream: TextIO = sys.stderr,
        path: str = "",
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._style = style
        self._path = path
        self._stream = open(path, "a", encoding="utf-8") if path else stream  # noqa: SIM115
        self._is_stale = False
        self._wall = wall
        self._lock = threading.Lock()

    def reopen(self) -> None:
        """Let the next line go to a new file of the same name. Safe in a signal handler."""
        self._is_stale = bool(self._path)

    def info(self, message: str, **context: object) -> None:
        """Something worth knowing."""
        self._write("info", message, context)

    def warning(self, message: str, **context: object) -> None:
        """Something is wrong, and is dealt with."""
        self._write("warning", message, context)

    def error(self, message: str, **context: object) -> None:
        """Something is wrong, and somebody has to deal with it."""
        self._write("error", message, context)

    def _write(self, level: str, message: str, context: dict[str, object]) -> None:
        line = (self._console if self._style == "console" else self._json)(level, message, context)
        with self._lock:
            try:
                if self._is_stale:
                    self._renew()
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # a full disk or closed stderr must not stop the polls
                return

    def _renew(self) -> None:
        self._is_stale = False  # first, as the next wish may come at any time
        try:
            new = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError:
            self._is_stale = True  # the old file takes this line; the next line tries again
            return
        old, self._stream = self._stream, new
        with suppress(OSError):
            old.close()

    def _console(self, level: str, message: str, context: dict[str, object]) -> str:
        details = "".join(f" {key}={value}" for key, value in context.items())
        return f"beanwatch: {level}: {message}{details}"

    def _json(self, level: str, message: str, context: dict[str, object]) -> str:
        when = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")
        record = {
            "datetime": when,
            "level": LEVELS[level],
            "level_name": level.upper(),
            "channel": "collector",
            "message": message,
            "context": context,
            "extra": {},
        }
        return json.dumps(record, default=str)


class Changes:
    """Logs a condition when it begins and when it ends, not every time it is seen."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._wrong: dict[str, str] = {}
        self._lock = threading.Lock()

    def wrong(self, key: str, message: str, **context: object) -> None:
        """`key` is wrong for this reason; said if that is news."""
        with self._lock:
            is_news = self._wrong.get(key) != message
            self._wrong[key] = message
        if is_news:
            self._log.warning(message, **context)

    def right(self, key: str, message: str, **context: object) -> None:
        """`key` is well; said if it was not."""
        with self._lock:
            was_wrong = self._wrong.pop(key, None)
        if was_wrong:
            self._log.info(message, **context)
