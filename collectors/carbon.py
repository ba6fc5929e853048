"""Graphite's plaintext protocol over one connection that is kept, behind graphyte's Sender."""

import select
import socket
from collections.abc import Callable
from typing import TextIO

import graphyte

from beanwatch.collectors.address import Address, connect, parse_address
from beanwatch.collectors.protocol import describe

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
        """True if there is a connection, and the peer has not closed it."""
        if self._socket is None:
            return False
        # carbon never answers: what can be read here is its goodbye. Looking first saves the
        # write that a peer which is gone would swallow.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        try:
            gone = bool(poll.poll(0)) and not self._socket.recv(4096)
        except OSError:
            gone = True
        if gone:
            self.close()
        return not gone

    def connect(self) -> None:
        """Open the connection if there is none. Raises GraphiteError."""
        if self.is_connected:
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

    def _failed(self, error: OSError) -> GraphiteError:
        self.close()
        return GraphiteError(f"graphite {self.address}: {describe(error, self.timeout)}")


def parse_graphite(text: str) -> Address:
    """Read `host`, `host:port` or `[v6]:port`; the port is 2003 unless given."""
    return parse_address(text, GRAPHITE_PORT)


class Printer:
    """Prints the lines instead: what would be sent."""

    is_connected = True

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

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
