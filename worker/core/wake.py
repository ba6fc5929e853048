"""Wakes a sleeping thread through a pipe: a lock could deadlock in a signal handler."""

import os
import select


class Wake:
    """Lets any thread and any signal handler wake the one thread that sleeps."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    @property
    def descriptors(self) -> tuple[int, int]:
        """The two ends of the pipe."""
        return self._read, self._write

    def set(self) -> None:
        """Wake the sleeping thread. If none sleeps, its next `sleep` returns at once."""
        try:
            os.write(self._write, b".")
        except BlockingIOError:
            pass  # the pipe is full, so the thread wakes anyway

    def sleep(self, seconds: float, other: int | None = None) -> tuple[bool, bool]:
        """Sleep for `seconds`, until woken, or until the file descriptor `other` can be read.

        Returns two flags: whether the thread was woken, and whether `other` can be read.
        """
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if other is not None:
            poll.register(other, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(max(0.0, seconds) * 1000)]
        if self._read in ready:
            os.read(self._read, 4096)
        return self._read in ready, other in ready
