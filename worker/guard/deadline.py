"""Raises an exception in a running handler: at its timeout, or when the worker must stop.

SIGALRM does this, because only a signal ends a system call in which the main thread is blocked. It
works for sync and async handlers alike. A handler must not use SIGALRM itself.
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from beanwatch.worker.api.errors import Interrupted, JobTimeout

# Seconds in which a cancelled coroutine must yield. Then it is interrupted at its current line.
_YIELD_TIMEOUT = 1.0


class Alarm:
    """Raises one exception in the main thread, and only between `arm` and `disarm`."""

    def __init__(self) -> None:
        self._error: Interrupted | None = None
        self._deliver: Callable[[Interrupted], None] | None = None
        self._seconds = 0.0
        self._is_armed = False
        self._is_shielded = False
        self._is_due = False
        self._thread = threading.main_thread().ident or 0

    def arm(self, seconds: float) -> None:
        """Raise JobTimeout after so many seconds."""
        self._error, self._deliver, self._seconds = None, None, seconds
        self._is_due = False
        self._is_armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def divert(self, deliver: Callable[[Interrupted], None]) -> None:
        """Call `deliver` with the exception, in the main thread, instead of raising it."""
        self._deliver = deliver

    def disarm(self) -> None:
        """Raise nothing from now on."""
        self._is_armed = False  # first: the signal may be pending already
        signal.setitimer(signal.ITIMER_REAL, 0)

    def throw(self, error: Interrupted) -> None:
        """Raise `error` now, if armed. Any thread and any signal handler may call this."""
        if self._is_armed:
            self._error = error  # before the signal, whose handler reads it
            signal.pthread_kill(self._thread, signal.SIGALRM)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Delay the exception until the end of the block: an exchange with beanstalkd, say."""
        if threading.get_ident() != self._thread:
            yield  # the exception is raised in the main thread only
            return
        self._is_shielded = True
        try:
            yield
        finally:
            self._is_shielded = False
            if self._is_due:
                self._is_due = False
                self.ring()

    def ring(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """The handler of SIGALRM."""
        if not self._is_armed:
            return
        error = self._error or JobTimeout(f"it ran longer than {self._seconds:g} s")
        if self._is_shielded:
            self._is_due = True
        elif self._deliver is not None:
            self._deliver(error)
        else:
            self._is_armed = False
            raise error


class AsyncCalls:
    """Runs coroutines in one event loop that lives as long as the worker.

    At the timeout the task is cancelled, as asyncio's own timeouts do: the coroutine sees
    CancelledError, the worker sees the reason. A coroutine that does not yield is interrupted at
    its current line.
    """

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None
        self._error: Interrupted | None = None
        self._is_cancelled = False
        self.coroutine: Awaitable[Any] | None = None  # the running one

    def run(self, coroutine: Awaitable[Any]) -> Any:
        """Run it to its end. Raises what it raises, or the alarm's exception."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        self._error, self._is_cancelled = None, False
        self.coroutine = coroutine
        try:
            return self._runner.run(self._guard(coroutine))
        finally:
            self._task = self.coroutine = None

    def interrupt(self, error: Interrupted) -> None:
        """Cancel the coroutine; for `Alarm.divert`."""
        if self._task is None or self._runner is None:
            raise error
        if self._error is not None and not self._is_cancelled:
            raise error  # the second call: the event loop did not run since the first
        self._error = error
        self._runner.get_loop().call_soon_threadsafe(self._cancel)
        signal.setitimer(signal.ITIMER_REAL, _YIELD_TIMEOUT)

    def close(self) -> None:
        """Close the event loop."""
        if self._runner is not None:
            self._runner.close()

    async def _guard(self, coroutine: Awaitable[Any]) -> Any:
        self._task = asyncio.current_task()
        try:
            return await coroutine
        except asyncio.CancelledError:
            if self._error is not None:
                raise self._error from None
            raise

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()
