"""systemd's notification socket (sd_notify), without systemd's library."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Tells systemd how the process is. Does nothing where nobody listens."""

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
        """Send assignments such as READY=1. A full or missing socket is systemd's loss only."""
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                pass  # WATCHDOG=1 comes again in a second, and there is no one to tell

    def status(self, text: str) -> None:
        """STATUS=, when it changed."""
        if text != self._last:
            self._last = text
            self.send(f"STATUS={text}")
