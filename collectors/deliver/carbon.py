"""Graphite's plaintext protocol over one connection that stays open."""

import select
import socket
from collections.abc import Callable
from typing import TextIO

from beanwatch.net.address import Address, connect, parse_address
from beanwatch.net.errors import quote_answer, socket_reason

GRAPHITE_PORT = 2003


class GraphiteError(Exception):
    """Graphite did not take what was sent; the text names the address and the cause."""


class CarbonConnection:
    """A connection to carbon. Every failure raises GraphiteError and closes it.

    The caller keeps the points, so nothing is lost here. graphyte would open a connection for each
    send and drop what failed, so the collector does not use it.
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
        """True if there is a connection; `check_peer` finds out whether it still works."""
        return self._socket is not None

    def check_peer(self) -> None:
        """Raise GraphiteError if the peer closed the connection, or answered: carbon never does.

        The first write to a connection that the peer closed succeeds and is lost, so check before.
        """
        if self._is_closed_by_peer(0):
            self.close()
            raise GraphiteError(f"graphite {self.address}: it closed the connection")

    def close_confirmed(self, timeout: float) -> None:
        """Close the connection once the peer has read everything. Raises GraphiteError otherwise.

        carbon confirms nothing, but it closes its side when it has read to our end.
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
        """Open the connection if there is none. Raises GraphiteError."""
        if self._socket is not None:
            self.check_peer()
            return
        try:
            self._socket = self._open(self.address, self._timeout)
            self._socket.settimeout(self._timeout)
        except OSError as error:
            raise self._fail(error) from None

    def send(self, lines: bytes) -> None:
        """Send whole lines, connecting first if need be. Raises GraphiteError."""
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
        """Wait up to `timeout` seconds for that. Raises GraphiteError if the peer answers."""
        if self._socket is None:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        try:
            said = self._socket.recv(4096) if poll.poll(timeout * 1000) else None
        except OSError as error:
            raise self._fail(error) from None
        if said:
            self.close()
            raise GraphiteError(
                f"graphite {self.address}: this is no carbon, it answered {quote_answer(said[:40])}"
            )
        return said is not None

    def _fail(self, error: OSError) -> GraphiteError:
        self.close()
        return GraphiteError(f"graphite {self.address}: {socket_reason(error, self._timeout)}")


def parse_graphite(text: str) -> Address:
    """Read `host`, `host:port` or `[v6]:port`; the port is 2003 unless given."""
    return parse_address(text, GRAPHITE_PORT)


class Printer:
    """Prints the lines that would be sent."""

    is_connected = True

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def check_peer(self) -> None:
        """Nothing to do."""

    def close_confirmed(self, timeout: float) -> None:
        """Nothing to do."""

    def connect(self) -> None:
        """Nothing to do."""

    def send(self, lines: bytes) -> None:
        """Write whole lines. Raises GraphiteError."""
        try:
            self._stream.write(lines.decode())
            self._stream.flush()
        except OSError as error:
            raise GraphiteError(f"standard output: {error.strerror}") from None

    def close(self) -> None:
        """Nothing to do."""
