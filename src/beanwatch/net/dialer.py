"""Makes connections in a thread of its own, so that the caller never waits for one."""

import random
import socket
import threading
import time
from collections.abc import Callable

from beanwatch.net.errors import socket_reason

FIRST_PAUSE = 0.5  # seconds; doubles with each failure
LONGEST_PAUSE = 30.0
CONNECT_TIMEOUT = 5.0  # seconds, for a `dial` that takes its limit from here


class Dialer:
    """Calls `dial` in the background, one call at a time, until one of them connects.

    `dial` returns a connected socket or raises. After a failure the next call waits for a random
    time, at most FIRST_PAUSE, doubled with each failure up to LONGEST_PAUSE. `error` says why the
    last call failed; it is empty after a success.
    """

    def __init__(
        self,
        dial: Callable[[], socket.socket],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.error = ""
        self._dial = dial
        self._clock = clock
        self._failures = 0
        self._next_at = 0.0
        self._made: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def poll(self) -> socket.socket | None:
        """Return the new connection if there is one, non-blocking. Starts the next call if due."""
        if self._thread is not None:
            if self._thread.is_alive():
                return None
            self._thread = None
            made, self._made = self._made, None
            if made is not None:
                self._failures, self.error = 0, ""
                made.setblocking(False)
                return made
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._failures)
            self._failures = min(self._failures + 1, 10)
            self._next_at = self._clock() + random.uniform(0, pause)
        if self._clock() >= self._next_at and not self._is_closed:
            self._start()
        return None

    def close(self) -> None:
        """Make no more connections; one that is being made is closed as soon as it is there."""
        self._is_closed = True
        self._close_made()

    def _close_made(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.close()

    def _start(self) -> None:
        thread = threading.Thread(target=self._try, name="beanwatch-dialer", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system allows no more threads
            self.error = str(error)
            self._next_at = self._clock() + LONGEST_PAUSE
            return
        self._thread = thread

    def _try(self) -> None:
        try:
            self._made = self._dial()
        except OSError as error:
            self.error = socket_reason(error, CONNECT_TIMEOUT)
        except Exception as error:  # nothing else would report it: this is a thread
            self.error = str(error) or type(error).__name__
        if self._is_closed:
            self._close_made()
