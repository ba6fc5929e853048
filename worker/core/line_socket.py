"""Reads lines and bodies from a connected socket, each within a timeout.

Raises OSError if the server closes the connection or does not answer in time, and BadReplyError if
it sends neither a line nor a body of the announced size.
"""

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from beanwatch.net.errors import quote_answer

READ_SIZE = 65536  # bytes per read
MIN_BODY_RATE = 50_000  # bytes per second; a job that arrives more slowly is not accepted
MAX_LINE = 1024  # bytes
MAX_BODY = 1 << 30  # bytes; beanstalkd allows no larger job


class BadReplyError(ValueError):
    """Raised when a reply does not follow beanstalkd's protocol."""


class LineSocket:
    """Owns a connected socket and buffers its input. `timeout` (seconds) limits a send and a read.

    The kernel enforces the timeout (SO_RCVTIMEO, SO_SNDTIMEO), because Python's own timeouts cost
    one more system call per operation.
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
        self._buffer = b""  # bytes that were received but not returned yet
        self.fileno = connected.fileno
        self.close = connected.close

    def peer(self) -> Any:
        """Return the server's address in the form of `getpeername`. Raises OSError."""
        return self._socket.getpeername()

    def has_input(self) -> bool:
        """Return True if a read would not wait: data has arrived, or the socket was closed."""
        if self._buffer:
            return True
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLIN)
        except ValueError:  # another thread closed it
            return True
        return bool(poll.poll(0))

    def shut_down(self) -> None:
        """Make a waiting read fail at once. Any thread and any signal handler may call this."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the connection is gone already, which ends the read as well

    def send(self, data: bytes) -> None:
        """Send all of `data`. Raises TimeoutError if that takes longer than the timeout."""
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
        """Send a few bytes without waiting. Raises BlockingIOError if the send buffer is full."""
        if self._socket.send(data, socket.MSG_DONTWAIT) != len(data):
            raise BlockingIOError("the send buffer of the connection to beanstalkd is full")

    def read_line_now(self) -> bytes | None:
        """Return the next line without its CRLF, or None if it has not arrived yet."""
        try:
            while b"\r\n" not in self._buffer:
                self._add(self._socket.recv(READ_SIZE, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return None
        return self.read_line()

    def read_line(self, timeout: float = 0.0) -> bytes:
        """Wait for the next line and return it without its CRLF. Raises TimeoutError.

        The limit is the socket's timeout, or `timeout` seconds if given. A given limit may be
        missed by up to half of the socket's timeout.
        """
        end = 0.0
        while True:
            line, is_whole, rest = self._buffer.partition(b"\r\n")
            if is_whole:
                self._buffer = rest
                return line
            if len(self._buffer) > MAX_LINE:
                raise BadReplyError(
                    f"the server sent an overlong line: {quote_answer(self._buffer[:40])}"
                )
            end = end or self._clock() + (timeout or self._timeout)
            self._receive(end)

    def read_body(self, size: bytes) -> bytes:
        """Read a body and return it. `size` is its length: the ASCII digits from the line before.

        The time limit grows with the size, by one second per MIN_BODY_RATE bytes. Raises
        TimeoutError, and BadReplyError if the size is wrong.
        """
        if not size.isdigit() or (end := int(size)) > MAX_BODY:
            raise BadReplyError(f"the server announced a body of {quote_answer(size[:40])} bytes")
        stop = end + 2
        if len(self._buffer) < stop:
            self._receive_up_to(stop)
        buffer = self._buffer
        if buffer[end:stop] != b"\r\n":
            raise BadReplyError(
                f"a body is not of the announced size {end}: instead of CRLF it ends with "
                f"{quote_answer(buffer[max(0, end - 40) : stop])}"
            )
        self._buffer = buffer[stop:]
        return buffer[:end]

    def _receive_up_to(self, size: int) -> None:
        end = self._clock() + self._timeout + size / MIN_BODY_RATE
        parts = [self._buffer]
        left = size - len(self._buffer)
        try:
            while left > 0:
                data = self._socket.recv(min(max(left, READ_SIZE), 16 * READ_SIZE))
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                parts.append(data)
                left -= len(data)
                if left > 0 and self._clock() > end:
                    raise TimeoutError
        except BlockingIOError:
            raise TimeoutError from None
        self._buffer = b"".join(parts)

    def _receive(self, end: float) -> None:
        try:
            self._add(self._socket.recv(READ_SIZE))
            if b"\r\n" in self._buffer:
                return  # even after `end`: this process may have been frozen when the line arrived
            left = end - self._clock()
        except BlockingIOError:
            # One socket timeout has passed. Wait for another if at least half of it is left.
            left = end - self._clock() - self._timeout / 2
        if left < 0:
            raise TimeoutError

    def _add(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self._buffer += data
