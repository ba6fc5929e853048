"""Private files (mode 0600) that a crash leaves whole, and a lock between processes.

A new content is written under a new name and then renamed. Symlinks are refused: another user
could point one at a file of ours.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager


class LockedError(Exception):
    """Another process holds the lock; the text names the file."""


def write_private(path: str, content: bytes) -> None:
    """Replace a whole file: a reader sees the old content or the new. Raises OSError."""
    new = f"{path}.{os.getpid()}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:  # left by a process with our pid that was killed
        os.unlink(new)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise


def read_private(path: str) -> bytes | None:
    """Return the content, None if there is no such file. Raises OSError if it is no plain file."""
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock on the file, which is created if it is missing.

    Raises LockedError without waiting if another process holds it, and OSError. The kernel
    releases the lock when the process ends, however it ends. The file is not removed: a process
    that still has the old file open could then lock it beside one that locks a new file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"{path} is locked by another process") from None
        yield
    finally:
        os.close(descriptor)
