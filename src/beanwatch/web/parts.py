"""Reads one part of the whole (a server, Redis, the checks) again and again, in a thread."""

import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from beanwatch.net.redis_url import RedisError
from beanwatch.queues.base import ServerError

T = TypeVar("T")


class Part(NamedTuple, Generic[T]):
    """The last good value of a part, and why the last attempt to read it failed.

    `read_at` is in seconds since the epoch, 0 if it was never read. `error` is "" if it was read.
    `tried_at` is when the last attempt ended.
    """

    value: T
    read_at: float = 0.0
    error: str = ""
    tried_at: float = 0.0

    def trouble(self, now: float, patience: float) -> str:
        """Return why the value is not of now, or "". `patience` is in seconds.

        A reading that takes longer than that may hang.
        """
        if self.error:
            return self.error
        if not self.tried_at:
            return "not read yet"
        if now - self.tried_at > patience:
            return f"no answer for {now - self.tried_at:.0f} s"
        return ""


class PartReader(Generic[T]):
    """Calls `read` every `interval` seconds in a thread of its own, and keeps what it returned.

    If `read` raises ServerError or RedisError, the last value stays, with the error. Any other
    exception is a fault of beanwatch: `report` gets a text about it, and the reading goes on.
    `close` closes what `read` uses; it is called in the same thread, after the last reading.
    """

    def __init__(
        self,
        name: str,
        interval: float,
        read: Callable[[], T],
        empty: T,
        report: Callable[[str], object],
        *,
        close: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.part = Part(empty)
        self._interval, self._read, self._report, self._clock = interval, read, report, clock
        self._close = close
        self._thread: threading.Thread | None = None

    def start(self, stop: threading.Event) -> None:
        """Start the thread. It ends after `stop` is set, and does not keep the process alive."""
        self._thread = threading.Thread(
            target=self._run, args=(stop,), name=f"web-{self.name}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Close what was read from, unless a thread reads: it does so itself when it ends."""
        if self._thread is None:
            self._close()

    def read_once(self) -> None:
        """Read the part once, here."""
        try:
            value = self._read()
        except (ServerError, RedisError) as error:
            self._fail(str(error))
        except Exception as error:
            text = f"internal error, please report it: {type(error).__name__}: {error}"
            self._report(f"{self.name}: {text}")
            self._fail(text)
        else:
            now = self._clock()
            self.part = Part(value, now, "", now)

    def _fail(self, error: str) -> None:
        self.part = self.part._replace(error=error, tried_at=self._clock())

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            began = time.monotonic()
            self.read_once()
            stop.wait(max(0.1, self._interval - (time.monotonic() - began)))
        self._close()
