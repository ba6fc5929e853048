"""Private files that survive a crash in one piece: 0600, new name then rename, no symlinks."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager


class LockedError(Exception):
    """Somebody else holds the lock; the text names the file."""


def write_private(path: str, content: bytes) -> None:
    """Replace a file as a whole: a reader sees the old content or the new. Raises OSError."""
    new = f"{path}.{os.getpid()}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:  # left by a process of our number that was killed
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
    """The content, or None if there is no such file. Raises OSError for what is no plain file."""
    try:
        # Nobody may ever write to a FIFO: opening one must not wait.
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
    """Hold a lock on the file, which is made if need be. Raises LockedError at once, OSError.

    The kernel drops the lock with the process, however that ends. The file stays: removing
    it would let two processes hold locks on two files of one name.
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
