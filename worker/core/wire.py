"""A connected socket that speaks beanstalkd's protocol: whole lines and bodies, within their time.

Raises OSError when the server is gone or silent, NonsenseError when it is no beanstalkd.
"""

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from beanwatch.net.errors import quote_answer

SIZE = 65536  # bytes of one read
SLOWEST = 50_000  # bytes a second of a body: over a link that is slower no job can be taken
MAX_LINE = 1024
MAX_BODY = 1 << 30  # beanstalkd allows no larger job


class NonsenseError(ValueError):
    """The answer does not follow the protocol."""


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
        self.buffer = b""  # what has come and was not read
        self.fileno = connected.fileno
        self.close = connected.close

    def peer(self) -> Any:
        """The address at the other end."""
        return self._socket.getpeername()

    def has_news(self) -> bool:
        """True when there is something to read."""
        if self.buffer:
            return True
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLIN)
        except ValueError:  # another thread closed it, which is news
            return True
        return bool(poll.poll(0))

    def shut_down(self) -> None:
        """Wake whoever reads; from any thread, or a signal handler."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone already, which wakes the reader as well

    def send(self, data: bytes) -> None:
        """Send it all, within the timeout."""
        end = 0.0
        try:
            while (sent := self._socket.send(data)) < len(data):
                data = data[sent:]
                end = end or self._clock() + self._timeout
                if self._clock() > end:
                    raise TimeoutError
        except BlockingIOError:
            raise TimeoutError from None

    def send_now(self, data: bytes) -> None:
        """Send a few bytes without waiting; a full buffer is an error."""
        if self._socket.send(data, socket.MSG_DONTWAIT) != len(data):
            raise BlockingIOError("the connection takes no more")

    def read_line_now(self) -> bytes | None:
        """The first line of the next answer if it has come."""
        try:
            while b"\r\n" not in self.buffer:
                self._take(self._socket.recv(SIZE, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return None
        return self.read_line()

    def read_line(self, patience: float = 0.0) -> bytes:
        """The first line of the next answer, without its end.

        Within the timeout, or `patience` seconds, to half a timeout.
        """
        over = 0.0
        while True:
            line, is_whole, rest = self.buffer.partition(b"\r\n")
            if is_whole:
                self.buffer = rest
                return line
            if len(self.buffer) > MAX_LINE:
                raise NonsenseError(f"it answered {quote_answer(self.buffer[:40])}")
            over = over or self._clock() + (patience or self._timeout)
            self._wait(over)

    def read_body(self, size: bytes) -> bytes:
        """What follows a line that ends with this size: as long as it goes on, if it is long."""
        if not size.isdigit() or (end := int(size)) > MAX_BODY:
            raise NonsenseError(f"it told of a body of {size[:40]!r} bytes")
        stop = end + 2
        if len(self.buffer) < stop:
            self._read_up_to(stop)
        buffer = self.buffer
        if buffer[end:stop] != b"\r\n":
            raise NonsenseError(f"a body ended with {buffer[max(0, end - 40) : stop]!r}")
        self.buffer = buffer[stop:]
        return buffer[:end]

    def _read_up_to(self, size: int) -> None:
        over = self._clock() + self._timeout + size / SLOWEST
        parts = [self.buffer]
        left = size - len(self.buffer)
        try:
            while left > 0:
                data = self._socket.recv(min(max(left, SIZE), 16 * SIZE))
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                parts.append(data)
                left -= len(data)
                if self._clock() > over:
                    raise TimeoutError
        except BlockingIOError:
            raise TimeoutError from None
        self.buffer = b"".join(parts)

    def _wait(self, over: float) -> None:
        try:
            self._take(self._socket.recv(SIZE))
            left = over - self._clock()
        except BlockingIOError:  # the timeout is over; a longer patience may have another
            left = over - self._clock() - self._timeout / 2
        if left < 0:
            raise TimeoutError

    def _take(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self.buffer += data
