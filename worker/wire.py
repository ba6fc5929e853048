"""A connected socket that speaks beanstalkd's protocol: whole replies, within their time.

Raises OSError when the server is gone or silent, NonsenseError when it is no beanstalkd.
"""

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from beanwatch.collectors.protocol import WITH_BODY, WORDS

SIZE = 65536  # bytes of one read
MAX_LINE = 1024
MAX_BODY = 1 << 30  # beanstalkd allows no larger job


class NonsenseError(ValueError):
    """The answer does not follow the protocol."""


class Reply(Struct, frozen=True):
    """The first word of an answer, the words after it, and the body of those that have one."""

    word: bytes
    args: list[bytes]
    body: bytes = b""


class Wire:
    """Owns the socket; `timeout` (seconds) is for one answer unless `read` is given another.

    The kernel keeps the time: Python's own timeouts cost a system call more each.
    """

    def __init__(
        self,
        connected: socket.socket,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        connected.settimeout(None)
        limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._socket = connected
        self._timeout = timeout
        self._clock = clock
        self._buffer = b""
        self.fileno = connected.fileno
        self.close = connected.close

    def peer(self) -> Any:
        """The address at the other end."""
        return self._socket.getpeername()

    def has_news(self, seconds: float = 0.0) -> bool:
        """True when there is something to read, or comes within `seconds`."""
        if self._buffer:
            return True
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLIN)
        except ValueError:  # another thread closed it, which is news
            return True
        return bool(poll.poll(seconds * 1000))

    def shut_down(self) -> None:
        """Wake whoever reads; from any thread, or a signal handler."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone already, which wakes the reader as well

    def send(self, data: bytes) -> None:
        """Send it all, within the timeout."""
        end = self._clock() + self._timeout
        try:
            while (sent := self._socket.send(data)) < len(data):
                data = data[sent:]
                if self._clock() > end:
                    raise TimeoutError
        except BlockingIOError:
            raise TimeoutError from None

    def send_now(self, data: bytes) -> None:
        """Send a few bytes without waiting; a full buffer is an error."""
        if self._socket.send(data, socket.MSG_DONTWAIT) != len(data):
            raise BlockingIOError("the connection takes no more")

    def read_now(self) -> Reply | None:
        """The next answer if it has come, for answers without a body."""
        try:
            while b"\r\n" not in self._buffer:
                self._take(self._socket.recv(SIZE, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return None
        return self.read()

    def read(self, patience: float = 0.0) -> Reply:
        """The next answer, within the timeout, or `patience` seconds, to half a timeout."""
        end = self._clock() + (patience or self._timeout)
        while (at := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise NonsenseError(f"it answered {self._buffer[:40]!r}")
            self._wait(end)
        word, *args = self._buffer[:at].split(b" ")
        if word not in WORDS:
            raise NonsenseError(f"it answered {self._buffer[: min(at, 40)]!r}")
        start = at + 2
        if word not in WITH_BODY:
            self._buffer = self._buffer[start:]
            return Reply(word, args)
        size = args[-1] if args else b""
        if not size.isdigit() or len(size) > 10 or int(size) > MAX_BODY:
            raise NonsenseError(f"it answered {self._buffer[: min(at, 40)]!r}")
        stop = start + int(size)
        while len(self._buffer) < stop + 2:
            self._wait(end)
        body = self._buffer[start:stop]
        if self._buffer[stop : stop + 2] != b"\r\n":
            raise NonsenseError(f"a body ended with {body[-40:]!r}")
        self._buffer = self._buffer[stop + 2 :]
        return Reply(word, args, body)

    def _wait(self, end: float) -> None:
        try:
            self._take(self._socket.recv(SIZE))
            left = end - self._clock()
        except BlockingIOError:  # the timeout is over; a longer patience may have another
            left = end - self._clock() - self._timeout / 2
        if left < 0:
            raise TimeoutError

    def _take(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self._buffer += data
