"""A connection to a beanstalkd that pipelines many queries, with one deadline for all of them.

It cannot reserve jobs; the connection of a worker is in `beanwatch.worker.core.connection`.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason
from beanwatch.queues.base import DEFAULT_TIMEOUT, ProtocolError, ServerError
from beanwatch.queues.beanstalkd.protocol import NonsenseError, Reply, ReplyBuffer

# At most BATCH commands are sent before their replies are read. With more, both sides could block
# on full socket buffers; with fewer, the network's delay would count more. PART commands are sent
# at once: the server works on one part while we read the replies to another.
BATCH = 200
PART = 25


class QueryConnection:
    """Sends commands to a beanstalkd and returns the replies, until a deadline.

    The deadline is `timeout` seconds after the start of the connect; `extend` sets a new one.
    Every error closes the connection and raises a ServerError with the address. `received_at` is
    the time of `clock` (seconds) at which the last bytes arrived.
    """

    def __init__(
        self,
        address: Address,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        clock: Callable[[], float] = time.monotonic,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self._clock = clock
        self._limit = timeout
        self.received_at = clock()
        self._end = self.received_at + timeout
        self._replies = ReplyBuffer()
        # `recv` allocates 64 KiB for each reply and then shrinks the block. The replies keep what
        # is left of it, so the heap gets more and more gaps, and the process grows.
        self._buffer = memoryview(bytearray(65536))
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
        """Set the deadline to `timeout` seconds from now (default: the constructor's timeout)."""
        self._limit = self.timeout if timeout is None else timeout
        self._end = self._clock() + self._limit

    def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """Send commands (without line ends), return their replies in order. Raises ServerError."""
        return list(self.stream(commands))

    def ask_one(self, command: bytes) -> Reply:
        """Send one command (without a line end) and return its reply. Raises ServerError."""
        return self.ask([command])[0]

    def stream(self, commands: Sequence[bytes]) -> Iterator[Reply]:
        """Send commands (without line ends) and yield each reply as it arrives, to save memory.

        If the caller stops before the last reply, the connection is closed, since the remaining
        replies would be read as replies to the next commands. Raises ServerError.
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

    def _join(self, commands: Sequence[bytes]) -> bytes:
        lines = b"\r\n".join((*commands, b""))
        # A line end inside a name would start another command. Only a put may have one: it stands
        # between the command and the body.
        if not lines.count(b"\r") == lines.count(b"\n") == len(commands) and any(
            (b"\r" in line or b"\n" in line) for line in commands if line[:4] != b"put "
        ):
            self.close()
            raise ServerError(
                f"{self.address}: a command was not sent, because a name in it has a line end"
            )
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
        size = self._socket.recv_into(self._buffer)
        if not size:
            raise ConnectionResetError("the server closed the connection in mid-reply")
        self.received_at = self._clock()
        self._replies.feed(self._buffer[:size].tobytes())


def body_of(link: QueryConnection, command: bytes, reply: Reply) -> bytes:
    """Return the body of an OK reply to `command`. Raises ProtocolError for any other reply."""
    if reply.word != b"OK":
        raise ProtocolError(
            f"{link.address}: {command.decode('ascii', 'replace')} "
            f"was answered {reply.word.decode()}"
        )
    return reply.body
