"""NotifySocket: receives the messages of a program, and says which process has sent each.

Source: sd_notify(3); unix(7) about SO_PASSCRED.
"""

import os
import secrets
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from beanwatch.worker.wrapper.messages import MAX_SIZE

CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
MAX_RATE = 2000  # messages a second; a program that sends more waits
FLUSH_TIMEOUT = 2.0  # seconds
MAX_PATH = 100  # bytes; the address of a socket has room for 108
# Takes the body of a message, and the pid and the user of the process that has sent it.
OnMessage = Callable[[bytes, int, int], object]


class NotifySocket:
    """Reads messages in a thread, from `start` until `close`; `address` is for $NOTIFY_SOCKET.

    Files that are sent along are never opened here: there is no room for them in what is read.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._directory = ""
        self.address = self._bind()
        self._is_closed = False
        self._is_flushed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_message: OnMessage) -> None:
        """Start to read. `on_message` must not raise, and is called in one thread only."""
        self._thread = threading.Thread(
            target=self._read_all, args=(on_message,), name="beanwatch-notify", daemon=True
        )
        self._thread.start()

    def flush(self) -> None:
        """Wait until all messages are handled that were sent before; for 2 seconds at most."""
        self._is_flushed.clear()
        end = time.monotonic() + FLUSH_TIMEOUT
        while self._thread is not None and time.monotonic() < end:
            with suppress(OSError):  # its queue is full
                self._wake()
                self._is_flushed.wait(end - time.monotonic())
                return
            time.sleep(0.01)

    def close(self) -> None:
        """Handle what was sent before, then close the socket and remove its file."""
        self.flush()
        self._is_closed = True
        if self._thread is not None:
            with suppress(OSError):  # its queue is full: then the thread is not waiting
                self._wake()
            self._thread.join(FLUSH_TIMEOUT)
        self._socket.close()
        if self._directory:
            for remove, path in ((os.unlink, self.address), (os.rmdir, self._directory)):
                with suppress(OSError):
                    remove(path)

    def _bind(self) -> str:
        """Bind to a file, which every client can use; else to an abstract name."""
        try:
            self._directory = tempfile.mkdtemp(prefix="beanwatch-run-")
            path = f"{self._directory}/notify"
            if len(os.fsencode(path)) > MAX_PATH:
                raise OSError("the path is too long for a socket")
            self._socket.bind(path)
            # The program may run as another user. Who else sends something is found out below.
            os.chmod(self._directory, 0o711)  # noqa: S103
            os.chmod(path, 0o666)  # noqa: S103
            return path
        except OSError:
            if self._directory:
                with suppress(OSError):
                    os.rmdir(self._directory)
            self._directory = ""
        name = f"beanwatch-run-{secrets.token_hex(16)}"
        self._socket.bind(f"\0{name}")
        return f"@{name}"

    def _wake(self) -> None:
        name = self._socket.getsockname()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(b"\n", name)

    def _read_all(self, on_message: OnMessage) -> None:
        second, in_second = 0, 0
        while True:
            try:
                message = self._read()
            except OSError:  # nothing is left, or the socket was closed
                return
            if message is None:
                continue
            if message[1] == os.getpid():
                self._is_flushed.set()
            else:
                on_message(*message)
            now = int(time.monotonic())
            second, in_second = now, in_second + 1 if now == second else 0
            if in_second >= MAX_RATE:
                time.sleep(0.1)

    def _read(self) -> tuple[bytes, int, int] | None:
        """Return a message, the pid and the user of its sender; None if the sender is not known.

        A message that is too long is returned with its first MAX_SIZE + 1 bytes. Raises OSError.
        """
        body, ancillary, _, _ = self._socket.recvmsg(
            MAX_SIZE + 1,
            socket.CMSG_SPACE(CREDENTIALS.size),
            socket.MSG_DONTWAIT if self._is_closed else 0,
        )
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, _ = CREDENTIALS.unpack_from(data)
                return body, pid, uid
        return None
