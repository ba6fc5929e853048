"""One connection to one beanstalkd for asking questions: bounded batches, one deadline for all.

It reserves nothing and holds no job. The worker's connection, which does, is in
`beanwatch.worker.core.connection`.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason
from beanwatch.queues.base import DEFAULT_TIMEOUT, ProtocolError, ServerError
from beanwatch.queues.beanstalkd.protocol import NonsenseError, Reply, ReplyBuffer

# Commands on their way at once. More fill both socket buffers and deadlock; fewer wait for
# the wire. They leave in parts, so that the server works on one while we read another.
BATCH = 200
PART = 25
# A batch that took longer than SLOW (seconds) is followed by a rest of REST times as long.
SLOW = 0.01
REST = 0.15


class QueryConnection:
    """Sends commands and yields their replies; nothing done through it outlasts its deadline.

    `timeout` (seconds) covers everything from the connect on; `extend` starts it anew.
    Every error is a ServerError that names the address; after one the connection is closed.
    `heard` is when the last bytes came, by `clock`.
    """

    def __init__(
        self,
        address: Address,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self._clock, self._sleep = clock, sleep
        self._limit = timeout
        self.heard = clock()
        self._end = self.heard + timeout
        self._replies = ReplyBuffer()
        try:
            self._socket = open_socket(address, timeout)
        except OSError as error:
            raise ServerError(f"{address}: {socket_reason(error, timeout)}") from None

    def __enter__(self) -> "QueryConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""
        self._socket.close()

    def extend(self, timeout: float | None = None) -> None:
        """Start the deadline anew, for a connection that is kept between polls."""
        self._limit = self.timeout if timeout is None else timeout
        self._end = self._clock() + self._limit

    def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """Send commands (without their line ends) and return the replies in the same order."""
        return list(self.stream(commands))

    def ask_one(self, command: bytes) -> Reply:
        """Send one command and return its reply."""
        return self.ask([command])[0]

    def stream(self, commands: Sequence[bytes]) -> Iterator[Reply]:
        """As `ask`, but yields each reply as it arrives, so that memory stays flat.

        A caller that stops before the last reply closes the connection: the rest is still to come.
        """
        due = 0
        try:
            for start in range(0, len(commands), PART):
                part = commands[start : start + PART]
                self._send(self._join(part))
                due += len(part)
                is_last = start + PART >= len(commands)
                while due > (0 if is_last else BATCH - PART):
                    reply = self._replies.next()
                    if reply is None:
                        self._receive()
                    else:
                        due -= 1
                        yield reply
        except OSError as error:
            self.close()
            raise ServerError(f"{self.address}: {socket_reason(error, self._limit)}") from None
        except NonsenseError as error:
            raise ProtocolError(f"{self.address}: {error}") from None
        finally:
            if due:
                self.close()

    def stream_gently(self, commands: Sequence[bytes]) -> Iterator[Reply]:
        """As `stream`, with a pause after each batch if the server is slow.

        A server with thousands of tubes is slow, and its other clients would wait for us all the
        time. The time that a batch needs to reach a far server counts as a pause.
        """
        for start in range(0, len(commands), BATCH):
            started = self._clock()
            replies = self.stream(commands[start : start + BATCH])
            first = next(replies)
            round_trip = self._clock() - started
            yield first
            yield from replies
            taken = self._clock() - started
            if taken > SLOW and start + BATCH < len(commands):
                self._sleep(max(0.0, taken * REST - round_trip))

    def _join(self, commands: Sequence[bytes]) -> bytes:
        lines = b"\r\n".join((*commands, b""))
        # A line end inside a name would start another command. A put has one, before its body.
        if not lines.count(b"\r") == lines.count(b"\n") == len(commands) and any(
            (b"\r" in line or b"\n" in line) for line in commands if line[:4] != b"put "
        ):
            self.close()
            raise ServerError(f"{self.address}: not sent, because a name in it has a line end")
        return lines

    def _send(self, data: bytes) -> None:
        self._arm()
        self._socket.sendall(data)

    def _arm(self) -> None:
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _receive(self) -> None:
        self._arm()
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed the connection in mid-reply")
        self.heard = self._clock()
        self._replies.feed(data)


def body_of(link: QueryConnection, command: bytes, reply: Reply) -> bytes:
    """The body of the reply to a question. Raises ProtocolError if it has none."""
    if reply.word != b"OK":
        raise ProtocolError(
            f"{link.address}: {command.decode('ascii', 'replace')} "
            f"was answered {reply.word.decode()}"
        )
    return reply.body
