"""Write log lines: one write a line, and no error reaches the caller."""

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Sequence
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import Any, cast

from structlog.typing import Processor

from beanwatch.telemetry.logging.render import encode_json

STDOUT, STDERR = 1, 2
_NAMES = {STDOUT: "standard output", STDERR: "standard error"}
# Seconds that the first line waits for a reader that has stopped reading. Later lines do not wait.
MAX_WAIT = 1.0


class LogOutput:
    """A file opened for appending, or a standard stream; structlog's logger and its factory.

    A full disk, a closed pipe or a reader that has stopped costs lines, which are counted in
    `dropped`. The first loss is reported on standard error. When writing works again, a line
    says how many are missing; `processors` render it. Opens `path`, or `stream` (a file
    descriptor) if the path is empty. Raises OSError.
    """

    def __init__(self, path: str, processors: Sequence[Processor], *, stream: int = STDOUT) -> None:
        self.dropped = 0
        self.is_json = encode_json in processors
        self._path = os.path.abspath(path) if path else ""  # a job may change directory
        self._name = self._path or _NAMES.get(stream, f"descriptor {stream}")
        self._processors = processors
        self._lost = 0  # since the last line that was written
        self._is_torn = False  # only a part of the last line was written
        self._must_reopen = False
        self._reopen_failed = False
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler that logs enters it again
        self._waiting: deque[bytes] = deque()
        self._is_writing = False
        # A descriptor of our own: a job may close the stream, and a socket would get its number.
        self._use(self._open(path) if path else fcntl(stream, F_DUPFD_CLOEXEC, STDERR + 1))

    def __call__(self, *_: object) -> "LogOutput":
        return self

    def reopen(self) -> None:
        """Write the next line to a new file of the same name. Safe in a signal handler."""
        self._must_reopen = bool(self._path)

    def write(self, line: bytes) -> None:
        """Write one line, its newline included. Raises nothing of its own."""
        if os.getpid() != self._pid:  # a fork may have copied us in the middle of a write
            self._pid, self._lock = os.getpid(), threading.RLock()
            self._waiting, self._is_writing = deque(), False
        with self._lock:
            if self._is_writing:
                self._waiting.append(line)
                return  # this is a signal handler that interrupted a write
            try:
                self._is_writing = True
                self._write(line)
                while self._waiting:
                    self._write(self._waiting.popleft())
            finally:
                self._is_writing = False

    debug = info = warning = error = critical = write

    def _write(self, line: bytes) -> None:
        if self._must_reopen:
            self._reopen()
        if self._lost and self._put(self._explain_loss()):
            self._lost = 0
        if not self._lost and self._put(line):
            return
        self._lost += 1
        self.dropped += 1

    def _explain_loss(self) -> bytes:
        line: Any = {"event": "{lost} log lines were lost", "lost": self._lost}
        for processor in self._processors:
            line = processor(None, "warning", line)
        return cast("bytes", line)

    def _put(self, line: bytes) -> bool:
        left = b"\n" + line if self._is_torn else line
        whole = len(left)
        try:
            while left:
                if self._chunk:
                    self._wait_for_room()
                left = left[os.write(self._fd, left[: self._chunk]) :]
        except OSError as error:
            self._is_torn = self._is_torn or len(left) < whole
            if not self._lost:
                self._complain(error, "counting lost lines")
            return False
        except BaseException:  # a job's timeout is raised here: nobody knows what was written
            self._is_torn = True
            raise
        self._is_torn = False
        return True

    def _wait_for_room(self) -> None:
        poll = select.poll()  # one for each call: a signal handler may come in between
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(0 if self._lost else MAX_WAIT * 1000):
            raise BlockingIOError("the reader of the log has stopped reading")

    def _complain(self, error: OSError, what: str) -> None:
        message = f"beanwatch: log {self._name}: {error.strerror or error}; {what}\n"
        try:
            if select.select([], [STDERR], [], 0)[1]:
                os.write(STDERR, message.encode("utf-8", "replace"))
        except OSError:
            return  # standard error is gone too; `dropped` still counts

    def _open(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _use(self, fd: int) -> None:
        self._fd = fd
        # A write to anything but a file may block. POLLOUT promises room for PIPE_BUF bytes.
        self._chunk = None if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF

    def _reopen(self) -> None:
        self._must_reopen = False  # first: the next request may come at any moment
        try:
            fd = self._open(self._path)
        except OSError as error:
            self._must_reopen = True  # the old file takes this line, and the next one tries again
            if not self._reopen_failed:
                self._reopen_failed = True
                self._complain(error, "going on in the old file")
            return
        os.close(self._fd)
        self._is_torn = self._reopen_failed = False
        self._use(fd)
