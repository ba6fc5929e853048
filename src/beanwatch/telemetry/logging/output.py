"""LogOutput: writes log lines to a file or stream, and never raises an error to the caller."""

import errno
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import Any, cast

from structlog.typing import Processor

from beanwatch.file_access import find_writers
from beanwatch.telemetry.logging.render import encode_json
from beanwatch.words import count

STDOUT, STDERR = 1, 2
_NAMES = {STDOUT: "standard output", STDERR: "standard error"}
# Seconds to wait for a pipe's reader that has stopped reading, or for another thread that writes.
# After a loss, lines do not wait.
MAX_WAIT = 1.0


class LogOutput:
    """Appends lines to the file `path`, or to `stream` (a file descriptor) if `path` is empty.

    It is both structlog's logger and its logger factory. If a line cannot be written (full disk,
    closed pipe, reader that has stopped, another thread that hangs in a write), it is lost and
    counted in `dropped`. The first loss is reported on standard error. When writing works again, a
    line says how many were lost; `processors` render it. The constructor raises OSError if the file
    cannot be opened.
    """

    _is_writing: bool

    def __init__(self, path: str, processors: Sequence[Processor], *, stream: int = STDOUT) -> None:
        self.dropped = 0
        self.is_json = encode_json in processors
        self.on_closed: Callable[[], None] = lambda: None  # called if the descriptor was closed
        self._path = os.path.abspath(path) if path else ""  # a job may change directory
        self._name = self._path or _NAMES.get(stream, f"descriptor {stream}")
        self._processors = processors
        self._lost = 0  # lines lost since the last one that was written
        self._is_torn = False  # only a part of the last line was written
        self._has_jobs = False  # jobs or the program of this process may print anything
        self._is_shared = False  # what jobs print goes into the same file as the log
        self._size = 0  # of that file after our last line, if it is a regular one; bytes
        self._must_reopen = False
        self._reopen_failed = False
        self._pid = os.getpid()
        self._reset()
        self._stream = stream
        self._use(self._open_target())

    def __call__(self, *_: object) -> "LogOutput":
        return self

    def reopen(self) -> None:
        """Open the file anew before the next line, as after logrotate. Safe in signal handlers."""
        self._must_reopen = bool(self._path)

    def restore(self) -> None:
        """Open the file or stream again for the last lines, because a job closed its descriptor.

        Call this only before the process exits: it does not wait for other threads that write.
        Raises nothing: if it cannot be opened, lines are lost and counted.
        """
        self._reset()
        with suppress(OSError):
            self._use(self._open_target())

    def keep_from_jobs(self) -> None:
        """Keep apart from the log what jobs and their child processes print, line end or not.

        What they print on standard output goes to standard error, if the log is on standard output.
        If both are the same file, see `start_on_new_lines`.
        """
        if not self._path:
            try:
                os.dup2(STDERR, STDOUT)
            except OSError:  # standard error is closed: then the stream is shared
                pass
        self.start_on_new_lines()

    def start_on_new_lines(self) -> None:
        """Begin each line on a new line if the log goes where this process or its children print.

        They may print half a line. Without this, it would be a part of the next line of the log.
        """
        self._has_jobs = True
        self._note_sharing()

    def write(self, line: bytes) -> None:
        """Write one line, which ends with a newline. Counts it if that fails; raises no OSError."""
        if os.getpid() != self._pid:  # after a fork: the parent may have held the lock
            self._pid = os.getpid()
            self._reset()
        if threading.get_ident() == self._main_thread:
            # Use `with`: after any other call, a signal handler may raise a job's timeout.
            with self._lock:
                self._write_all(line)
        # The main thread may hang in a write, with its disk. The pulse thread must not hang too.
        elif self._lock.acquire(timeout=0 if self._lost else MAX_WAIT):
            try:
                self._write_all(line)
            finally:
                self._lock.release()
        else:
            self._count_loss()

    debug = info = warning = error = critical = write

    def _reset(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may log during a write
        self._main_thread = threading.main_thread().ident
        self._waiting: deque[bytes] = deque()
        self._is_writing = False

    def _write_all(self, line: bytes) -> None:
        if self._is_writing:
            self._waiting.append(line)
            return  # called by a signal handler that interrupted a write
        try:
            self._is_writing = True
            self._write(line)
            while self._waiting:
                self._write(self._waiting.popleft())
        finally:
            self._is_writing = False

    def _write(self, line: bytes) -> None:
        if self._must_reopen:
            self._reopen()
        if self._lost and self._put(self._explain_loss()):
            self._lost = 0
        if not self._lost and self._put(line):
            return
        self._count_loss()

    def _count_loss(self) -> None:
        self._lost += 1
        self.dropped += 1

    def _explain_loss(self) -> bytes:
        lines = count(self._lost, "log line was", "log lines were")
        line: Any = {"event": f"before this line {lines} lost", "lost": self._lost}
        for processor in self._processors:
            line = processor(None, "warning", line)
        return cast("bytes", line)

    def _put(self, line: bytes) -> bool:
        is_torn = self._is_torn or (self._is_shared and self._may_have_been_written_to())
        left = b"\n" + line if is_torn else line
        whole = len(left)
        try:
            while left:
                if self._chunk:
                    self._wait_for_room()
                left = left[os.write(self._fd, left[: self._chunk]) :]
        except OSError as error:
            if error.errno == errno.EBADF:
                self.on_closed()
            self._is_torn = self._is_torn or len(left) < whole
            if not self._lost:
                self._complain(
                    f"cannot write the log to {self._name}", error, "lost lines are counted"
                )
            return False
        except (
            BaseException
        ):  # a job's timeout may be raised here, after an unknown part was written
            self._is_torn = True
            raise
        self._is_torn = False
        if self._is_shared and not self._chunk:
            self._size = os.fstat(self._fd).st_size
        return True

    def _note_sharing(self) -> None:
        own = os.fstat(self._fd)
        self._size = 0  # if the file has content, its last line may have no end
        self._is_shared = False
        if not self._has_jobs or stat.S_ISCHR(own.st_mode):  # a terminal is read by people
            return
        for descriptor in (STDOUT, STDERR):
            try:
                if os.path.samestat(own, os.fstat(descriptor)):
                    self._is_shared = True
            except OSError:  # it is closed
                continue

    def _may_have_been_written_to(self) -> bool:
        """Return False if nobody has written to the shared file since our last line.

        Of a pipe or a socket, nobody can tell. journald ignores the empty line that this costs.
        """
        return bool(self._chunk) or os.fstat(self._fd).st_size != self._size

    def _wait_for_room(self) -> None:
        poll = (
            select.poll()
        )  # a new one for each call: a signal handler may call this during a call
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(0 if self._lost else MAX_WAIT * 1000):
            raise BlockingIOError("the reader of the log has stopped reading")

    def _complain(self, failure: str, error: OSError, consequence: str) -> None:
        message = f"beanwatch: {failure}: {error.strerror or error}; {consequence}\n"
        try:
            if select.select([], [STDERR], [], 0)[1]:
                os.write(STDERR, message.encode("utf-8", "replace"))
        except OSError:
            return  # standard error fails too; `dropped` still counts

    def _open_target(self) -> int:
        if self._path:
            return self._open(self._path)
        # Duplicate the stream: if a job closes it, a new socket may get its descriptor number.
        return fcntl(self._stream, F_DUPFD_CLOEXEC, STDERR + 1)

    def _open(self, path: str) -> int:
        """Open the file. A symlink is followed only if no other user can have made it."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags | os.O_NOFOLLOW, 0o640)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        is_foreign = os.lstat(path).st_uid not in (0, os.geteuid())
        if is_foreign or any(find_writers(os.path.dirname(os.path.abspath(path)))):
            raise OSError(
                errno.ELOOP, "it is a symbolic link that another user can have made", path
            )
        return os.open(path, flags, 0o640)

    def _use(self, fd: int) -> None:
        self._fd = fd
        # Writes to pipes may block. After POLLOUT, a pipe accepts PIPE_BUF bytes without blocking.
        self._chunk = None if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        self._note_sharing()

    def _reopen(self) -> None:
        self._must_reopen = False  # first, since a signal may request the next one at any time
        try:
            fd = self._open_target()
        except OSError as error:
            self._must_reopen = True  # write this line to the old file, and try again with the next
            if not self._reopen_failed:
                self._reopen_failed = True
                self._complain(
                    f"cannot reopen the log {self._name}", error, "continuing in the old file"
                )
            return
        os.close(self._fd)
        self._is_torn = self._reopen_failed = False
        self._use(fd)
