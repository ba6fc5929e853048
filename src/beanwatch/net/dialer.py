"""Dialer: connects in a background thread, so that the caller never waits for a connection."""

import random
import socket
import threading
import time
from collections.abc import Callable

from beanwatch.net.errors import socket_reason

FIRST_PAUSE = (
    0.5  # seconds; limit of the pause after the first failure, doubled with each further one
)
LONGEST_PAUSE = 30.0  # seconds
CONNECT_TIMEOUT = 5.0  # seconds; the timeout that `error` names


class Dialer:
    """Calls `dial` in a background thread, one call at a time, until it connects.

    `dial` returns a connected socket or raises an exception. After a failure, the next call follows
    after a random pause: at most FIRST_PAUSE, doubled with each failure up to LONGEST_PAUSE.
    `error` says why the last call failed; it is empty after a success.
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
        """Return a new connection as a non-blocking socket, or None if there is none yet.

        Starts the next call of `dial` if it is due. Does not wait. Raises nothing.
        """
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
        """Stop calling `dial`. A connection that is still being made is closed once it is there."""
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
        except Exception as error:  # in a thread, nothing else would report it
            self.error = str(error) or type(error).__name__
        if self._is_closed:
            self._close_made()
