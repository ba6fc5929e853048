"""Parts that several tests put together: a carbon that can die, a terminal, a log."""

import json
import os
import pty
import socket
import struct
import subprocess
import threading
from typing import Any, Self

import structlog
from structlog.typing import FilteringBoundLogger

from beanwatch.telemetry.graphite import Batch
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.telemetry.logging.render import json_processors
from tests.real import ROOT, free_port

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Sink:
    """A carbon on one port that can be cut off, refuse, swallow, and come back; keeps all lines."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()
        self._deaf = threading.Event()
        self._stopped = threading.Event()
        self._rude = False
        self.lines: list[str] = []
        self.connections = 0
        self.port = 0

    @property
    def address(self) -> str:
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    def start(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._deaf.clear()
        self._stopped = threading.Event()
        self.port = self.port or free_port()  # which outgoing connections are not given meanwhile
        self._listener = socket.create_server((self._host, self.port), family=family)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """As a carbon that is stopped: nobody listens, and every connection ends."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            for connection in self._connections:
                try:
                    if self._deaf.is_set():  # a host that died resets: it has confirmed nothing
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    connection.shutdown(socket.SHUT_RD if self._deaf.is_set() else socket.SHUT_RDWR)
                except OSError:
                    continue
            self._connections.clear()
        self._stopped.set()

    def swallow(self) -> None:
        """Take what comes and lose it, as a host does that is about to die."""
        self._deaf.set()

    def hang_up(self) -> None:
        """End each connection at the first bytes, as carbon's port for pickles does."""
        self._rude = True

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.append(connection)
                self.connections += 1
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        stopped = self._stopped
        with connection, connection.makefile("rb") as stream:
            try:
                if self._rude:
                    connection.recv(1)
                    return
                for line in stream:
                    # As carbon, drop a line that is cut off by the end of the connection.
                    if not self._deaf.is_set() and line.endswith(b"\n"):
                        self.lines.append(line.decode().rstrip("\n"))
                if self._deaf.is_set():
                    stopped.wait(30)  # a dying host confirms nothing
            except OSError:
                return

    def points(self) -> set[tuple[str, int]]:
        """Path and time of every point that came, once each."""
        return {(line.split()[0], int(line.split()[2])) for line in list(self.lines)}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Terminal:
    """A command of ours on a terminal of its own; `shown` grows as it writes."""

    def __init__(self, *argv: str) -> None:
        self._near, far = pty.openpty()
        self.shown = ""
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        self.process = subprocess.Popen(
            [ROOT / ".venv" / "bin" / argv[0], *argv[1:]],
            stdin=far,
            stdout=far,
            stderr=far,
            env=environment,
        )
        os.close(far)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def type(self, text: str) -> None:
        os.write(self._near, text.encode())

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._near, 65536)
            except OSError:  # the last process on the terminal has ended
                return
            self.shown += chunk.decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._near)


class Memory:
    """A log whose lines are kept, and the problems that are logged to it."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self.log: FilteringBoundLogger = structlog.wrap_logger(
            self,
            processors=json_processors(),
            wrapper_class=structlog.make_filtering_bound_logger("info"),
            channel="collector",
        )
        self.problems = ProblemLog(self.log)

    def _keep(self, line: bytes) -> None:
        self._lines.append(line)

    info = warning = error = _keep

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines]

    @property
    def messages(self) -> list[str]:
        return [record["message"] for record in self.records]


def batch(number: int, source: str = "q1", points: int = 1) -> Batch:
    """Points whose paths say which they are."""
    lines = "".join(f"{source}.{number}.{n} 1 {number}\n" for n in range(points))
    return Batch(source, number, points, lines.encode())
