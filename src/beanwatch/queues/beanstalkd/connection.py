"""A pipelining beanstalkd client for asking questions: bounded batches, one deadline for all.

Follows the reply grammar of beanstalkd's `doc/protocol.txt`. It reserves nothing and
holds no job; the worker's session, which does, is in `beanwatch.worker.core.connection`.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import quote_answer, socket_reason

# Commands on their way at once. More fill both socket buffers and deadlock; fewer wait for
# the wire. They leave in parts, so that the server works on one while we read another.
BATCH = 200
PART = 25
# A line longer than this is no beanstalkd: a tube name has at most 200 bytes.
MAX_LINE = 1024
# list-tubes of 100,000 tubes with the longest names stays below.
MAX_BODY = 32 * 1024 * 1024
WITH_BODY = frozenset((b"OK", b"FOUND", b"RESERVED"))
WORDS = WITH_BODY | frozenset(
    b"INSERTED BURIED KICKED WATCHING USING PAUSED DELETED RELEASED TOUCHED NOT_FOUND NOT_IGNORED "
    b"TIMED_OUT DEADLINE_SOON DRAINING EXPECTED_CRLF JOB_TOO_BIG OUT_OF_MEMORY INTERNAL_ERROR "
    b"BAD_FORMAT UNKNOWN_COMMAND".split()
)


class ServerError(Exception):
    """The server cannot be used: refused, silent, gone, or not speaking the protocol."""


class ProtocolError(ServerError):
    """Something answered, but not as a beanstalkd does."""


class Reply(NamedTuple):
    """One answer: its first word, the words after it, and the body of those that have one."""

    word: bytes
    args: tuple[bytes, ...] = ()
    body: bytes = b""


class Link:
    """One connection to one beanstalkd; nothing done through it outlasts its deadline.

    `timeout` (seconds) covers everything from the connect on; `extend` starts it anew.
    Every error is a ServerError that names the address; after one the link is closed.
    `heard` is when the last bytes came, by `clock`: it costs nothing to ask at each reply.
    """

    def __init__(
        self,
        address: Address,
        timeout: float = 5.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self._clock = clock
        self._limit = timeout
        self.heard = clock()
        self._end = self.heard + timeout
        self._buffer = b""
        self._at = 0  # what is before it was read
        try:
            self._socket = open_socket(address, timeout)
        except OSError as error:
            raise ServerError(f"{address}: {socket_reason(error, timeout)}") from None

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""
        self._socket.close()

    def extend(self, timeout: float | None = None) -> None:
        """Start the deadline anew, for a link that is kept between polls."""
        self._limit = self.timeout if timeout is None else timeout
        self._end = self._clock() + self._limit

    def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """Send commands (without their line ends) and return the replies in the same order."""
        return list(self.stream(commands))

    def ask_one(self, command: bytes) -> Reply:
        """Send one command and return its reply."""
        return self.ask([command])[0]

    def stream(self, commands: Sequence[bytes]) -> Iterator[Reply]:
        """As `ask`, but yields each reply when it is there, so that memory stays flat.

        Left before its end it closes the link, since the other replies are still to come.
        """
        due = 0
        try:
            for start in range(0, len(commands), PART):
                part = commands[start : start + PART]
                self._send(self._join(part))
                due += len(part)
                while due > BATCH - PART or (due and start + PART >= len(commands)):
                    reply = self._reply()
                    due -= 1
                    yield reply
        except OSError as error:
            raise ServerError(f"{self.address}: {socket_reason(error, self._limit)}") from None
        finally:
            if due:
                self.close()

    def _join(self, commands: Sequence[bytes]) -> bytes:
        lines = b"\r\n".join((*commands, b""))
        # A line end in a tube's name would be the start of a command of somebody else's.
        if not lines.count(b"\r") == lines.count(b"\n") == len(commands) and any(
            (b"\r" in line or b"\n" in line) for line in commands if line[:4] != b"put "
        ):
            raise ServerError(f"{self.address}: not sent, as a name in it has a line end")
        return lines

    def _send(self, data: bytes) -> None:
        self._arm()
        self._socket.sendall(data)

    def _arm(self) -> None:
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _receive(self) -> bytes:
        self._arm()
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed the connection in mid-reply")
        self.heard = self._clock()
        return data

    def _reply(self) -> Reply:
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            left = self._buffer[self._at :]
            if len(left) > MAX_LINE:
                raise self._nonsense(left[:40])
            self._buffer, self._at = left + self._receive(), 0
        line = self._buffer[self._at : end]
        word, *args = line.split(b" ")
        if word not in WORDS:
            raise self._nonsense(line[:40])
        self._at = end + 2
        if word not in WITH_BODY:
            return Reply(word, tuple(args))
        size = args[-1] if args else b""
        # By its length first: int() raises ValueError for thousands of digits.
        if not size.isdigit() or len(size) > len(str(MAX_BODY)) or int(size) > MAX_BODY:
            raise self._nonsense(line[:40])
        return Reply(word, tuple(args), self._body(int(size)))

    def _body(self, size: int) -> bytes:
        start = self._at
        stop = start + size
        if len(self._buffer) < stop + 2:
            parts = [self._buffer[start:]]
            missing = stop + 2 - len(self._buffer)
            while missing > 0:
                parts.append(self._receive())
                missing -= len(parts[-1])
            self._buffer, start, stop = b"".join(parts), 0, size
        body = self._buffer[start:stop]
        if self._buffer[stop : stop + 2] != b"\r\n":
            raise self._nonsense(body[-40:])
        self._at = stop + 2
        return body

    def _nonsense(self, what: bytes) -> ProtocolError:
        return ProtocolError(
            f"{self.address}: this is no beanstalkd, it answered {quote_answer(what)}"
        )
