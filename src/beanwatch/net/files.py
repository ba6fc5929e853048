"""Reads and writes private files (mode 0600), and locks files between processes.

A file is replaced by writing a new one and renaming it, so a crash never leaves a partial file.
Symlinks are rejected: another user could create one that points to a file of ours.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager


class LockedError(Exception):
    """Raised if another process has locked a file; the text names the file."""


def write_private(path: str, content: bytes) -> None:
    """Write or replace a file atomically: readers see the old or new content. Raises OSError."""
    new = f"{path}.{os.getpid()}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:  # left over from a killed process that had our pid
        os.unlink(new)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise


def read_private(path: str, *, dir_fd: int | None = None) -> bytes | None:
    """Return the content of a file, or None if it does not exist.

    A relative path is below the directory `dir_fd`, or else below the current directory.
    Raises OSError if the file cannot be read, is a symlink, or is not a regular file.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        descriptor = os.open(
            path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd
        )
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def open_directory(path: str, *, create: bool = False) -> int:
    """Open a directory as a descriptor for `dir_fd`, and follow no symlink on the way to it.

    `path` is absolute and has no `..`. With `create`, missing directories are made (mode 0755).
    Raises OSError: FileNotFoundError for a missing directory, and ELOOP with a text for a symlink.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    current, walked = os.open("/", flags), ""
    for name in filter(None, path.split("/")):
        walked += f"/{name}"
        try:
            try:
                inner = os.open(name, flags, dir_fd=current)
            except FileNotFoundError:
                if not create:
                    raise
                os.mkdir(name, 0o755, dir_fd=current)
                inner = os.open(name, flags, dir_fd=current)
        except NotADirectoryError:
            if stat.S_ISLNK(os.lstat(name, dir_fd=current).st_mode):
                text = f"{walked} is a symbolic link, and nothing is written through one"
                raise OSError(errno.ELOOP, text, walked) from None
            raise
        finally:
            os.close(current)
        current = inner
    return current


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold an exclusive lock (flock(2)) on a file; the file is created if it is missing.

    Does not wait: raises LockedError if another process holds the lock, and OSError if the file
    cannot be opened. The kernel releases the lock when the process ends. The file is not removed:
    otherwise one process could lock the removed file while another one locks a new file.
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
