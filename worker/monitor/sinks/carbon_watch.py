"""CarbonWatch: two connections that tell what graphyte cannot: carbon lives, and reads."""

import select
import socket
from collections.abc import Callable

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import quote_answer

ANSWER_WAIT = 0.5  # seconds to wait for an answer, which shows that the server is not carbon


class CarbonWatch:
    """Watches the carbon to which graphyte sends. Every method but `close` raises OSError.

    graphyte opens a connection for each send and closes it at once, so it cannot tell whether
    carbon has read the points. So one connection stays open: it breaks if carbon crashes. After
    each send, `ask` opens another one and closes our side of it. carbon, which takes connections in
    their order, closes its side when it has come to this one.

    carbon never sends anything. A server that does is not carbon.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        *,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self._address = address
        self._timeout = timeout  # seconds, for each connect
        self._open = open_socket
        self._watched: socket.socket | None = None
        self._asked: socket.socket | None = None

    @property
    def is_connected(self) -> bool:
        """True while there is a connection to carbon that is not known to be closed."""
        return self._watched is not None

    @property
    def is_asked(self) -> bool:
        """True while carbon has not answered the last `ask`."""
        return self._asked is not None

    def connect(self, first_line: bytes) -> Address:
        """Connect, send a line, and return the IP address and port of the server."""
        sock = self._open(self._address, self._timeout)
        try:
            sock.sendall(first_line)
            if _is_closed(sock, ANSWER_WAIT):
                raise ConnectionResetError("the server closed the connection")
            host, port = sock.getpeername()[:2]
        except BaseException:
            sock.close()
            raise
        self._watched = sock
        return Address(host, port)

    def check(self) -> None:
        """Raise OSError if carbon has closed the connection, so that it may have crashed."""
        if self._watched is not None and _is_closed(self._watched, 0):
            raise ConnectionResetError("the server closed the connection")

    def ask(self) -> None:
        """Ask carbon whether it has come to the connections that were opened before."""
        sock = self._open(self._address, self._timeout)
        self._asked = sock
        sock.shutdown(socket.SHUT_WR)

    def has_answered(self, timeout: float) -> bool:
        """Return True if carbon answers the last `ask` within `timeout` seconds."""
        if self._asked is None or not _is_closed(self._asked, timeout):
            return False
        self._asked.close()
        self._asked = None
        return True

    def close(self) -> None:
        """Close both connections."""
        for sock in (self._watched, self._asked):
            if sock is not None:
                sock.close()
        self._watched = self._asked = None


def _is_closed(sock: socket.socket, timeout: float) -> bool:
    """Return True if the server closes the connection within `timeout` seconds.

    Raises OSError if it sends anything, or resets the connection.
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll(timeout * 1000):
        return False
    if said := sock.recv(40):
        raise OSError(f"this is not carbon: it answered {quote_answer(said)}")
    return True
