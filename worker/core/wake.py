"""Waking a thread that sleeps. By a pipe, because a lock would deadlock in a signal handler."""

import os
import select


class Wake:
    """One thread sleeps; any other thread and any signal handler can wake it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def set(self) -> None:
        """End the current sleep, or the next one if nobody sleeps."""
        try:
            os.write(self._write, b".")
        except BlockingIOError:
            pass  # the pipe is full: the sleeper will wake anyway

    def sleep(self, seconds: float, other: int | None = None) -> tuple[bool, bool]:
        """Sleep until woken, or until the file descriptor `other` can be read.

        Returns (was woken, `other` can be read).
        """
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if other is not None:
            poll.register(other, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(max(0.0, seconds) * 1000)]
        if self._read in ready:
            os.read(self._read, 4096)
        return self._read in ready, other in ready
