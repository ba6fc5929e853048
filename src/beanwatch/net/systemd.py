"""SystemdNotifier: sends this process's state to systemd, as sd_notify(3) does."""

import os
import socket
from collections.abc import Mapping

from beanwatch.quoting import terminal_text


class SystemdNotifier:
    """Sends datagrams to the socket $NOTIFY_SOCKET without blocking; does nothing if it is unset.

    Raises nothing when sending fails.
    """

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
        """Send assignments such as READY=1 in one datagram; drop it if the socket is not ready."""
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                pass  # the next WATCHDOG=1 follows within seconds

    def status(self, text: str) -> None:
        """Send a text as STATUS=, which `systemctl status` shows, if it has changed.

        A line end in the text, which may have the name of a job, would start another assignment.
        """
        text = terminal_text(text)
        if text != self._last:
            self._last = text
            self.send(f"STATUS={text}")
