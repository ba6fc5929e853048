"""A TCP proxy that causes network faults which a real server does not produce on demand."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

from tests.real.process import free_port

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Proxy:
    """Forwards connections to `upstream` ("host:port" or "unix:/path"), and causes faults.

    A fault affects existing and new connections, until `restore` is called.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._accepting: threading.Thread | None = None
        self._closed = False
        self._swallow = False
        self._refuse = False
        self._latency = 0.0
        self._reply_budget: int | None = None
        self._garbage: bytes | None = None
        self._edit: Callable[[bytes], bytes] | None = None
        self._speed = 0.0
        self._line = threading.Lock()  # one link for all connections
        self._flows = threading.Event()
        self._flows.set()
        self.connections = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def blackhole(self) -> None:
        """Accept all data and send no reply, like a network that drops packets."""
        self._swallow = True

    def refuse(self) -> None:
        """Refuse new connections, and close the existing ones."""
        self._refuse = True
        self._close_listener()
        self._drop_all(reset=False)

    def reset(self) -> None:
        """Send RST to every connection. New connections work."""
        self._drop_all(reset=True)

    def truncate(self, count: int) -> None:
        """Forward `count` more bytes of replies, then close the connection."""
        self._reply_budget = count

    def garble(self, answer: bytes) -> None:
        """Answer every request with these bytes instead of the server's."""
        self._garbage = answer

    def edit(self, change: Callable[[bytes], bytes]) -> None:
        """Change every piece of data that the server sends."""
        self._edit = change

    def latency(self, seconds: float) -> None:
        """Delay every reply by this time."""
        self._latency = seconds

    def slow(self, speed: float) -> None:
        """Forward `speed` bytes per second of requests, over all connections together."""
        self._speed = speed

    def freeze(self) -> None:
        """Forward nothing, and accept what fits into the buffers, until `thaw`."""
        self._flows.clear()

    def thaw(self) -> None:
        """Forward again, beginning with what was accepted meanwhile."""
        self._flows.set()

    def restore(self) -> None:
        """End all faults. Connections that lost bytes are reset, because they are out of step.

        An orderly end would tell the sender that the other side has read all bytes.
        """
        harmed = self._swallow or self._garbage is not None
        self._swallow = False
        self._latency = 0.0
        self._reply_budget = None
        self._garbage = None
        self._speed = 0.0
        self._flows.set()
        if harmed:
            self._drop_all(reset=True)
        if self._refuse:
            self._refuse = False
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listen()

    def _listen(self) -> None:
        self._accepting = threading.Thread(
            target=self._accept, args=(self._listener,), name="proxy", daemon=True
        )
        self._accepting.start()

    def _close_listener(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._listener.close()
        if self._accepting is not None:
            self._accepting.join(5)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        try:
            far = _connect(self._upstream)
        except OSError:
            near.close()
            return
        pair = _Pair(near, far)
        with self._lock:
            self._pairs.add(pair)
        if self._closed or self._refuse:
            pair.close()
        replies = threading.Thread(target=self._pump, args=(pair, True), daemon=True)
        replies.start()
        self._pump(pair, False)
        replies.join()
        pair.close()
        with self._lock:
            self._pairs.discard(pair)

    def _pump(self, pair: "_Pair", is_reply: bool) -> None:
        source, target = (pair.far, pair.near) if is_reply else (pair.near, pair.far)
        try:
            while data := source.recv(4096 if self._speed and not is_reply else 65536):
                self._flows.wait()
                if self._speed and not is_reply:
                    with self._line:
                        time.sleep(len(data) / self._speed)
                if self._swallow:
                    continue
                if self._garbage is not None:
                    if not is_reply:
                        pair.near.sendall(self._garbage)
                    continue
                if is_reply:
                    if self._edit is not None:
                        data = self._edit(data)
                    if self._latency:
                        time.sleep(self._latency)
                    if self._reply_budget is not None:
                        data = data[: self._reply_budget]
                        self._reply_budget -= len(data)
                target.sendall(data)
                if is_reply and self._reply_budget == 0:
                    break
            else:
                self._flows.wait()
                if self._swallow or pair.is_reset:  # the peer gets no FIN
                    return
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass  # one end has closed: close the other one too
        pair.close()

    def _drop_all(self, *, reset: bool) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.close(reset=reset)

    def close(self) -> None:
        self._closed = True
        self._flows.set()
        self._close_listener()
        self._drop_all(reset=False)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Pair:
    """The two sockets of one proxied connection."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self.is_reset = False

    def close(self, *, reset: bool = False) -> None:
        # shutdown wakes the thread that reads. For a reset, only the reading side is shut down,
        # so that close sends an RST instead of a FIN.
        self.is_reset |= reset
        with contextlib.suppress(OSError):
            if reset:
                self.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.near.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        self.near.close()
        with contextlib.suppress(OSError):
            self.far.shutdown(socket.SHUT_RDWR)
        self.far.close()


def _connect(upstream: str) -> socket.socket:
    if upstream.startswith("unix:"):
        far = socket.socket(socket.AF_UNIX)
        far.settimeout(5)
        far.connect(upstream.removeprefix("unix:"))
    else:
        host, _, port = upstream.rpartition(":")
        far = socket.create_connection((host, int(port)), timeout=5)
    far.settimeout(None)
    return far
