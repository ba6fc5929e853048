"""A connected socket that speaks beanstalkd's protocol: whole replies, within their time.

Raises OSError when the server is gone or silent, NonsenseError when it is no beanstalkd.
"""

import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from beanwatch.collectors.protocol import WITH_BODY, WORDS

MAX_LINE = 1024
MAX_BODY = 1 << 30  # beanstalkd allows no larger job


class NonsenseError(ValueError):
    """The answer does not follow the protocol."""


class Reply(NamedTuple):
    """The first word of an answer, the words after it, and the body of those that have one."""

    word: bytes
    args: list[bytes]
    body: bytes = b""


class Wire:
    """Owns the socket; `timeout` (seconds) is for one answer unless `read` is given another."""

    def __init__(
        self,
        connected: socket.socket,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        connected.settimeout(timeout)
        self._socket = connected
        self._timeout = timeout
        self._clock = clock
        self._buffer = b""
        self.fileno = connected.fileno
        self.send = connected.sendall
        self.close = connected.close

    def peer(self) -> Any:
        """The address at the other end."""
        return self._socket.getpeername()

    def shut_down(self) -> None:
        """Wake whoever reads; from any thread, or a signal handler."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone already, which wakes the reader as well

    def send_now(self, data: bytes) -> None:
        """Send a few bytes without waiting; a full buffer is an error."""
        self._socket.settimeout(0)
        try:
            if self._socket.send(data) != len(data):
                raise BlockingIOError("the connection takes no more")
        finally:
            self._socket.settimeout(self._timeout)

    def read_now(self) -> Reply | None:
        """The next answer if it has come, for answers without a body."""
        self._socket.settimeout(0)
        try:
            while b"\r\n" not in self._buffer:
                self._more()
        except BlockingIOError:
            return None
        finally:
            self._socket.settimeout(self._timeout)
        return self.read()

    def read(self, patience: float = 0.0) -> Reply:
        """The next answer, within `patience` seconds."""
        if not patience:
            return self._read(self._clock() + self._timeout)
        self._socket.settimeout(patience)
        reply = self._read(self._clock() + patience)
        self._socket.settimeout(self._timeout)
        return reply

    def _read(self, end: float) -> Reply:
        while (at := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise NonsenseError(f"it answered {self._buffer[:40]!r}")
            self._more()
            if self._clock() > end:
                raise TimeoutError
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
            self._more()
            if self._clock() > end:
                raise TimeoutError
        body = self._buffer[start:stop]
        if self._buffer[stop : stop + 2] != b"\r\n":
            raise NonsenseError(f"a body ended with {body[-40:]!r}")
        self._buffer = self._buffer[stop + 2 :]
        return Reply(word, args, body)

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self._buffer += data
