"""Send lines to carbon by Graphite's plaintext protocol, over a connection that stays open."""

import select
import socket
from collections.abc import Callable
from typing import TextIO

from beanwatch.net.address import Address, connect, parse_address
from beanwatch.net.errors import quote_answer, socket_reason

GRAPHITE_PORT = 2003


class GraphiteError(Exception):
    """Points could not be sent to Graphite; the text has its address and the cause."""


class CarbonConnection:
    """A connection to carbon. Every error closes it and raises GraphiteError.

    The caller keeps the points and sends them again after an error. The package graphyte is not
    used: it opens a connection for each send, and drops the points after an error.
    """

    def __init__(
        self,
        address: Address,
        timeout: float = 5.0,
        *,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self.address = address
        self._timeout = timeout  # seconds, for a connect and for a send
        self._open = open_socket
        self._socket: socket.socket | None = None

    @property
    def is_connected(self) -> bool:
        """True if a connection was opened and no error has closed it; `check_peer` tests it."""
        return self._socket is not None

    def check_peer(self) -> None:
        """Raise GraphiteError if the peer closed the connection, or sent data: carbon sends none.

        Call this before each send: the first write to a connection that the peer has closed
        succeeds, but its data are lost.
        """
        if self._is_closed_by_peer(0):
            self.close()
            raise GraphiteError(f"graphite {self.address}: the server closed the connection")

    def close_confirmed(self, timeout: float) -> None:
        """Close the connection after carbon has read everything; wait `timeout` seconds at most.

        carbon sends no confirmation. But when it has read everything, after we close our side, it
        closes its side too. Raises GraphiteError if it does not do so in time.
        """
        if self._socket is None:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._fail(error) from None
        if not self._is_closed_by_peer(timeout):
            raise self._fail(TimeoutError())
        self.close()

    def connect(self) -> None:
        """Open a connection; if there is one, call `check_peer`. Raises GraphiteError."""
        if self._socket is not None:
            self.check_peer()
            return
        try:
            self._socket = self._open(self.address, self._timeout)
            self._socket.settimeout(self._timeout)
        except OSError as error:
            raise self._fail(error) from None

    def send(self, lines: bytes) -> None:
        """Send complete lines; connect first if there is no connection. Raises GraphiteError."""
        self.connect()
        try:
            if self._socket is not None:
                self._socket.sendall(lines)
        except OSError as error:
            raise self._fail(error) from None

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
        except OSError as error:
            raise self._fail(error) from None
        if answer:
            self.close()
            raise GraphiteError(
                f"graphite {self.address}: this is no carbon, "
                f"it answered {quote_answer(answer[:40])}"
            )
        return answer is not None

    def _fail(self, error: OSError) -> GraphiteError:
        self.close()
        return GraphiteError(f"graphite {self.address}: {socket_reason(error, self._timeout)}")


def parse_graphite(text: str) -> Address:
    """Parse `host`, `host:port` or `[IPv6]:port`; the default port is 2003. Raises AddressError."""
    return parse_address(text, GRAPHITE_PORT)


class Printer:
    """Writes lines to a stream instead of sending them to carbon, for `--graphite -`."""

    is_connected = True

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def check_peer(self) -> None:
        """Do nothing: a stream has no peer."""

    def close_confirmed(self, timeout: float) -> None:
        """Do nothing: `send` has flushed everything."""

    def connect(self) -> None:
        """Do nothing: the stream is open."""

    def send(self, lines: bytes) -> None:
        """Write complete lines to the stream. Raises GraphiteError."""
        try:
            self._stream.write(lines.decode())
            self._stream.flush()
        except OSError as error:
            raise GraphiteError(f"cannot write to standard output: {error.strerror}") from None

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller."""
