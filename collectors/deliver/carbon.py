"""Send lines to carbon by Graphite's plaintext protocol, and learn what carbon has read."""

import array
import fcntl
import select
import socket
import termios
from collections.abc import Callable
from typing import TextIO

from beanwatch.net.address import Address, connect, parse_address
from beanwatch.net.errors import quote_answer, socket_reason

GRAPHITE_PORT = 2003


class GraphiteError(Exception):
    """Points could not be sent to Graphite; the text has its address and the cause."""


class GraphiteDownError(GraphiteError):
    """Nothing listens on Graphite's port: carbon has stopped, or crashed."""


class CarbonConnection:
    """A connection to carbon. Every error closes it and raises GraphiteError.

    The protocol has no confirmation. But when carbon has read everything, after we close our side
    (`half_close`), it closes its side too: `is_confirmed` waits for that. That the kernel of the
    other host has acknowledged the bytes proves nothing: a carbon that hangs does not read them,
    and they are lost if it is killed.

    The package graphyte is not used: it does not wait for carbon to close its side.
    """

    def __init__(
        self,
        address: Address,
        timeout: float = 5.0,
        *,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self.address = address
        self._timeout = timeout  # seconds, for a connect, and for `send` without any progress
        self._open = open_socket
        self._socket: socket.socket | None = None

    def __str__(self) -> str:
        return f"graphite {self.address}"

    @property
    def is_connected(self) -> bool:
        """True if a connection was opened and no error has closed it; `check_peer` tests it."""
        return self._socket is not None

    @property
    def unacknowledged(self) -> int:
        """The number of sent bytes that the kernel of the other host has not acknowledged."""
        count = array.array("i", [0])
        try:
            if self._socket is not None:
                fcntl.ioctl(self._socket, termios.TIOCOUTQ, count)
        except OSError:  # not a system with this call
            return 0
        return count[0]

    def check_peer(self) -> None:
        """Raise GraphiteError if the peer closed the connection, or sent data: carbon sends none.

        Call this before each send: the first write to a connection that the peer has closed
        succeeds, but its data are lost.
        """
        if self._is_closed_by_peer(0):
            self.close()
            raise GraphiteError(f"{self}: the server closed the connection")

    def connect(self) -> None:
        """Open a connection; if there is one, call `check_peer`.

        Raises GraphiteDownError if nothing listens there, and GraphiteError for another cause.
        """
        if self._socket is not None:
            self.check_peer()
            return
        try:
            self._socket = self._open(self.address, self._timeout)
            self._socket.setblocking(False)
        except OSError as error:
            raise self._fail(error) from None

    def write(self, lines: bytes | memoryview, timeout: float) -> int:
        """Send as many bytes as the kernel accepts, and return how many these are.

        If it accepts none within `timeout` seconds, return 0. Raises GraphiteError, also if the
        peer closed the connection or sent data.
        """
        if self._socket is None:
            return 0
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLOUT)
        found = dict(poll.poll(timeout * 1000)).get(self._socket.fileno(), 0)
        if found & ~select.POLLOUT:
            self.check_peer()
        if not found & select.POLLOUT:
            return 0
        try:
            return self._socket.send(lines)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._fail(error) from None

    def half_close(self) -> None:
        """Tell carbon that no more lines follow. Raises GraphiteError."""
        try:
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._fail(error) from None

    def is_confirmed(self, timeout: float) -> bool:
        """Return True and close if carbon closes its side, after `half_close`, within `timeout` s.

        Then it has read all lines. Raises GraphiteError if it sends data, or if the connection is
        reset, for example because carbon ended and did not read everything.
        """
        if not self._is_closed_by_peer(timeout):
            return False
        self.close()
        return True

    def send(self, lines: bytes) -> None:
        """Send complete lines; connect first if there is no connection. Raises GraphiteError."""
        self.connect()
        left = memoryview(lines)
        while left:
            sent = self.write(left, self._timeout)
            if not sent:
                raise self._fail(TimeoutError())
            left = left[sent:]

    def close_confirmed(self, timeout: float) -> None:
        """Close the connection after carbon has read everything; wait `timeout` seconds at most.

        Raises GraphiteError if carbon does not confirm in time that it has read everything.
        """
        if self._socket is None:
            return
        self.half_close()
        if not self.is_confirmed(timeout):
            raise self._fail(TimeoutError())

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _is_closed_by_peer(self, timeout: float) -> bool:
        """Return True if the peer closes the connection within `timeout` seconds.

        Raises GraphiteError if it sends data instead.
        """
        if self._socket is None:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        try:
            answer = self._socket.recv(4096) if poll.poll(timeout * 1000) else None
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._fail(error) from None
        if answer:
            self.close()
            raise GraphiteError(
                f"{self}: this is no carbon, it answered {quote_answer(answer[:40])}"
            )
        return answer is not None

    def _fail(self, error: OSError) -> GraphiteError:
        self.close()
        kind = GraphiteDownError if isinstance(error, ConnectionRefusedError) else GraphiteError
        return kind(f"{self}: {socket_reason(error, self._timeout)}")


def parse_graphite(text: str) -> Address:
    """Parse `host`, `host:port` or `[IPv6]:port`; the default port is 2003. Raises AddressError."""
    return parse_address(text, GRAPHITE_PORT)


class Printer:
    """Writes lines to a stream instead of sending them to carbon, for `--graphite -`."""

    is_connected = True
    unacknowledged = 0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __str__(self) -> str:
        return "standard output"

    def check_peer(self) -> None:
        """Do nothing: a stream has no peer."""

    def connect(self) -> None:
        """Do nothing: the stream is open."""

    def write(self, lines: bytes | memoryview, timeout: float) -> int:
        """Write complete lines to the stream, and return their size. Raises GraphiteError."""
        try:
            self._stream.write(bytes(lines).decode())
            self._stream.flush()
        except OSError as error:
            raise GraphiteError(f"cannot write to standard output: {error.strerror}") from None
        return len(lines)

    def half_close(self) -> None:
        """Do nothing: the stream stays open."""

    def is_confirmed(self, timeout: float) -> bool:
        """Return True: `write` has flushed everything."""
        return True

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller."""
