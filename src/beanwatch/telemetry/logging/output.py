"""Where log lines go: one write a line, and nothing that goes wrong reaches the worker."""

import os
import select
import stat
import threading
from collections import deque
from fcntl import F_DUPFD_CLOEXEC, fcntl

from structlog.typing import EventDict

from beanwatch.telemetry.logging.render import Render

STDOUT, STDERR = 1, 2
# Seconds that the first line waits for a reader that does not read; the ones after it do not.
PATIENCE = 1.0


class LogOutput:
    """A file opened for appending, or standard output; structlog's logger and its factory.

    A full disk, a closed pipe or a reader that stands still costs lines, which are counted
    in `dropped`. The first loss is told on standard error; when writing works again, a line
    says how many are missing. The file is opened here: raises OSError.
    """

    def __init__(self, path: str, render: Render) -> None:
        self.dropped = 0
        self._path = os.path.abspath(path) if path else ""  # a job may change directory
        self.render = render
        self._lost = 0  # since the last line that was written
        self._torn = False  # the last line was written in part only
        self._stale = False
        self._pid = os.getpid()
        self._lock = threading.RLock()  # again entered when a signal handler logs
        self._waiting: deque[bytes] = deque()
        self._is_writing = False
        # A number of our own: a job may close standard output, and a socket would get its number.
        self._use(self._open(path) if path else fcntl(STDOUT, F_DUPFD_CLOEXEC, STDERR + 1))

    def __call__(self, *_: object) -> "LogOutput":
        return self

    def reopen(self) -> None:
        """Let the next line go to a new file of the same name. Safe in a signal handler."""
        self._stale = bool(self._path)

    def tell(self, level: str, event: EventDict) -> None:
        """Render and write an event that did not come through structlog."""
        self.write(self.render(None, level, event))

    def write(self, line: bytes) -> None:
        """Write one line, its newline included."""
        if os.getpid() != self._pid:  # a fork may have copied us in the middle of a write
            self._pid, self._lock = os.getpid(), threading.RLock()
            self._waiting, self._is_writing = deque(), False
        with self._lock:
            if self._is_writing:
                self._waiting.append(line)
                return  # we are in a signal handler that came in the middle of a line
            try:
                self._is_writing = True
                self._write(line)
                while self._waiting:
                    self._write(self._waiting.popleft())
            finally:
                self._is_writing = False

    debug = info = warning = error = critical = write

    def _write(self, line: bytes) -> None:
        if self._stale:
            self._reopen()
        if self._lost and self._put(self._explain_loss()):
            self._lost = 0
        if not self._lost and self._put(line):
            return
        self._lost += 1
        self.dropped += 1

    def _explain_loss(self) -> bytes:
        event = {"event": "{lost} log lines were lost", "lost": self._lost}
        return self.render(None, "warning", event)

    def _put(self, line: bytes) -> bool:
        left = b"\n" + line if self._torn else line
        whole = len(left)
        try:
            while left:
                if self._chunk:
                    self._wait_for_room()
                left = left[os.write(self._fd, left[: self._chunk]) :]
        except OSError as error:
            self._torn = self._torn or len(left) < whole
            if not self._lost:
                self._complain(error, "counting lost lines")
            return False
        except BaseException:  # a job's timeout, raised here: who knows what was written
            self._torn = True
            raise
        self._torn = False
        return True

    def _wait_for_room(self) -> None:
        poll = select.poll()  # one for each call: a signal handler may come in between
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(0 if self._lost else PATIENCE * 1000):
            raise BlockingIOError("the reader of the log stands still")

    def _complain(self, error: OSError, what: str) -> None:
        where = self._path or "standard output"
        message = f"beanwatch: log {where}: {error.strerror or error}; {what}\n"
        try:
            if select.select([], [STDERR], [], 0)[1]:
                os.write(STDERR, message.encode("utf-8", "replace"))
        except OSError:
            return  # no standard error either: `dropped` still tells

    def _open(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _use(self, fd: int) -> None:
        self._fd = fd
        # What is no file may block in a write; POLLOUT promises room for PIPE_BUF bytes.
        self._chunk = None if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF

    def _reopen(self) -> None:
        self._stale = False
        try:
            fd = self._open(self._path)
        except OSError as error:
            self._complain(error, "going on in the old file")
            return
        os.close(self._fd)
        self._torn = False
        self._use(fd)
