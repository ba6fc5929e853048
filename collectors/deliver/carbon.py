"""Graphite's plaintext protocol over one connection that is kept, behind graphyte's Sender."""

import select
import socket
from collections.abc import Callable
from typing import TextIO

import graphyte

from beanwatch.net.address import Address, connect, parse_address
from beanwatch.net.errors import quote_answer, socket_reason

GRAPHITE_PORT = 2003


class GraphiteError(Exception):
    """Graphite did not take what was sent; the text names the address and the cause."""


class Carbon(graphyte.Sender):  # type: ignore[misc]  # graphyte carries no types
    """graphyte's Sender with another transport: it keeps its connection and never loses quietly.

    graphyte connects anew for each message, and drops the message when that fails. Here a
    failure raises GraphiteError, so that the caller, who has the backlog, keeps the points.
    """

    def __init__(
        self,
        address: Address,
        timeout: float = 5.0,
        *,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        super().__init__(address.host, address.port, timeout=timeout, raise_send_errors=True)
        self.address = address
        self._open = open_socket
        self._socket: socket.socket | None = None

    @property
    def is_connected(self) -> bool:
        """True if there is a connection, as far as is known without looking."""
        return self._socket is not None

    def look(self) -> None:
        """See whether the peer is still there. Raises GraphiteError if it is gone, or no carbon.

        Looking first saves the write that a peer which is gone would swallow.
        """
        if self._hears(0):
            self.close()
            raise GraphiteError(f"graphite {self.address}: it closed the connection")

    def part(self, timeout: float) -> None:
        """Close the connection in good order. Raises GraphiteError unless all was read.

        That the peer closes it too, once it has seen our end, is all that carbon ever says.
        """
        if self._socket is None:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._failed(error) from None
        if not self._hears(timeout):
            raise self._failed(TimeoutError())
        self.close()

    def connect(self) -> None:
        """Open the connection if there is none. Raises GraphiteError."""
        if self._socket is not None:
            self.look()
            return
        try:
            self._socket = self._open(self.address, self.timeout)
            self._socket.settimeout(self.timeout)
        except OSError as error:
            raise self._failed(error) from None

    def send_message(self, message: bytes) -> None:
        """Send whole lines, connecting first if need be. Raises GraphiteError."""
        self.connect()
        try:
            if self._socket is not None:
                self._socket.sendall(message)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _hears(self, timeout: float) -> bool:
        """True if the peer has closed the connection by then. Raises GraphiteError if it speaks."""
        if self._socket is None:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        try:
            said = self._socket.recv(4096) if poll.poll(timeout * 1000) else None
        except OSError as error:
            raise self._failed(error) from None
        if said:
            self.close()
            raise GraphiteError(
                f"graphite {self.address}: this is no carbon, it answered {quote_answer(said[:40])}"
            )
        return said is not None

    def _failed(self, error: OSError) -> GraphiteError:
        self.close()
        return GraphiteError(f"graphite {self.address}: {socket_reason(error, self.timeout)}")


def parse_graphite(text: str) -> Address:
    """Read `host`, `host:port` or `[v6]:port`; the port is 2003 unless given."""
    return parse_address(text, GRAPHITE_PORT)


class Printer:
    """Prints the lines instead: what would be sent."""

    is_connected = True

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def look(self) -> None:
        """Nothing to do."""

    def part(self, timeout: float) -> None:
        """Nothing to do."""

    def connect(self) -> None:
        """Nothing to do."""

    def send_message(self, message: bytes) -> None:
        """Write whole lines. Raises GraphiteError."""
        try:
            self._stream.write(message.decode())
            self._stream.flush()
        except OSError as error:
            raise GraphiteError(f"standard output: {error.strerror}") from None

    def close(self) -> None:
        """Nothing to do."""
