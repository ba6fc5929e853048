"""A server that answers, and then sends one byte at a time for ever."""

import contextlib
import socket
import threading
from typing import Self


class Drip:
    """Sends `start` on each connection, and after it one byte every 0.1 s.

    So no read of a client times out, although the reply never ends.
    """

    def __init__(self, start: bytes) -> None:
        self._start = start
        self._is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=(client,), daemon=True).start()

    def _drip(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.sendall(self._start)
            while not self._is_over.wait(0.1):
                client.sendall(b"x")
