"""Raises an exception in a running handler: at its timeout, or when the worker must stop.

It uses SIGALRM, because only a signal interrupts a system call that blocks the main thread. This
works for sync and async handlers. A handler must not use SIGALRM itself.
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from beanwatch.worker.api.errors import Interrupted, JobTimeout
from beanwatch.worker.monitor.jobs import ObservedJob

# Seconds for a cancelled coroutine to reach an `await`; then its current line is interrupted.
_YIELD_TIMEOUT = 1.0
# Seconds until the signal comes again. One that arrives just before a system call does not
# interrupt it: Python's handler would run only after the call.
_REPEAT = 1.0


class Alarm:
    """Raises JobTimeout or JobStopped in the main thread, between `arm` and `disarm` only."""

    def __init__(self) -> None:
        self._error: Interrupted | None = None
        self._deliver: Callable[[Interrupted], None] | None = None
        self._seconds = 0.0
        self._is_armed = False
        self._is_shielded = False
        self._is_due = False
        self._thread = threading.main_thread().ident or 0

    def arm(self, seconds: float) -> None:
        """Start the timer: after `seconds`, JobTimeout is raised in the main thread."""
        self._error, self._deliver, self._seconds = None, None, seconds
        self._is_due = False
        self._is_armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT)

    def divert(self, deliver: Callable[[Interrupted], None]) -> None:
        """Pass the exception to `deliver` instead of raising it, until the next `arm`.

        `deliver` is called in the main thread.
        """
        self._deliver = deliver

    def disarm(self) -> None:
        """Stop the timer, and raise nothing until the next `arm`."""
        self._is_armed = False  # before the timer: a signal may already be pending
        signal.setitimer(signal.ITIMER_REAL, 0)

    def throw(self, error: Interrupted) -> None:
        """Raise `error` in the main thread now, if armed.

        Any thread and any signal handler may call this.
        """
        if self._is_armed:
            self._error = error  # before the signal is sent: its handler reads this
            signal.setitimer(signal.ITIMER_REAL, _REPEAT, _REPEAT)
            signal.pthread_kill(self._thread, signal.SIGALRM)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Delay the exception until the end of the block, such as an exchange with beanstalkd."""
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
        """Handle SIGALRM: raise or deliver the exception, or delay it within `shield`."""
        if not self._is_armed:
            self.disarm()  # `throw` may have started the timer again
            return
        late = f"the job ran longer than {self._seconds:g} s, its timeout"
        error = self._error or JobTimeout(late)
        if self._is_shielded:
            self._is_due = True
        elif self._deliver is not None:
            self._deliver(error)
        else:
            self.disarm()
            raise error


class AsyncCalls:
    """Runs the coroutines of async handlers, all in one event loop.

    At the timeout the task is cancelled, as asyncio's own timeouts do: CancelledError is raised in
    the coroutine, and `run` raises the alarm's exception. A coroutine that does not reach an
    `await` is interrupted at its current line.
    """

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None
        self._error: Interrupted | None = None
        self._is_cancelled = False

    def run(self, coroutine: Awaitable[Any], job: ObservedJob) -> Any:
        """Run the coroutine of a job and return its result.

        Raises its exception, or that of the alarm.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        self._error, self._is_cancelled = None, False
        try:
            return self._runner.run(self._guard(coroutine, job))
        finally:
            self._task = job.task = None

    def interrupt(self, error: Interrupted) -> None:
        """Cancel the running coroutine; pass this method to `Alarm.divert`.

        Raises `error` if none runs, or if the event loop is blocked since an earlier call.
        """
        if self._task is None or self._runner is None:
            raise error
        if self._error is not None and not self._is_cancelled:
            raise error  # the coroutine did not reach an `await` since the first call
        self._error = error
        self._runner.get_loop().call_soon_threadsafe(self._cancel)
        signal.setitimer(signal.ITIMER_REAL, _YIELD_TIMEOUT)

    def close(self) -> None:
        """Close the event loop, if one was started."""
        if self._runner is not None:
            self._runner.close()

    async def _guard(self, coroutine: Awaitable[Any], job: ObservedJob) -> Any:
        self._task = job.task = asyncio.current_task()
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
