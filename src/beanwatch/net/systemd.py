"""Messages to systemd about this process, as in sd_notify(3), without systemd's library."""

import os
import socket
from collections.abc import Mapping


class SystemdNotifier:
    """Sends messages to $NOTIFY_SOCKET, without waiting; does nothing if that is not set."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        self._socket: socket.socket | None = None
        self._last = ""
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def send(self, *lines: str) -> None:
        """Send assignments such as READY=1. A message that the socket does not take is dropped."""
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                pass  # the next WATCHDOG=1 follows in a second, and nobody could be told

    def status(self, text: str) -> None:
        """Send STATUS=, if the text has changed."""
        if text != self._last:
            self._last = text
            self.send(f"STATUS={text}")
