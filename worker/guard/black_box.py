"""Writes and reads the black box: a file that names the running job and survives a kill.

The heartbeat names the job too, but it is up to a second old: it may miss a job that kills its
worker at once. The file also keeps the exit reason of a worker that could not reach Redis.
"""

import mmap
import os
from pathlib import Path
from typing import NamedTuple

_SIZE = 512  # bytes
_END_MARK = "end"
_NEWLINE = ord("\n")


class BlackBoxRecord(NamedTuple):
    """Holds the content of an ended process's black box. `job_id` is 0 if no job was running.

    `delivery` is the job's `reserves`, and `server` the id of the beanstalkd, "" if it has none.
    `exit_reason` is None if the process was killed, and "" if it stopped on request.
    """

    job_id: int = 0
    job_name: str = ""
    exit_reason: str | None = None
    delivery: int = 0
    server: str = ""


class BlackBox:
    """Writes the black box file. It is mapped into memory, because it is written twice per job.

    The constructor creates the file, and raises OSError if it exists or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._map = _create(path)

    def write_job(self, job_id: int, name: str, delivery: int, server: str) -> None:
        """Write the job that is about to run; the arguments are as in BlackBoxRecord."""
        self._put(f"{job_id} {delivery} {server} {name}".encode("utf-8", "replace"))

    def write_exit(self, reason: str) -> None:
        """Write why the process exits; "" if it was stopped on request."""
        self._put(f"{_END_MARK} {reason}".encode("utf-8", "replace"))

    def move_to(self, path: Path) -> None:
        """Write to a new file from now on: the old one was removed. Raises OSError."""
        new = _create(path)
        new[:] = self._map[:]
        self._map = new

    def clear(self) -> None:
        """Mark that no job is running."""
        self._map[0] = _NEWLINE

    def _put(self, text: bytes) -> None:
        line = text[: _SIZE - 1] + b"\n"
        self._map[: len(line)] = line


def _create(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Without this, a write to the map would kill the process when the disk is full.
        os.posix_fallocate(fd, 0, _SIZE)
        return mmap.mmap(fd, _SIZE)
    finally:
        os.close(fd)


def read_black_box(path: Path) -> BlackBoxRecord | None:
    """Read the black box of a process that has ended; None if the file cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(fd, "rb") as file:
        line = file.read(_SIZE).partition(b"\n")[0]
    first, _, rest = line.decode("utf-8", "replace").partition(" ")
    if first == _END_MARK:
        return BlackBoxRecord(exit_reason=rest)
    delivery, _, rest = rest.partition(" ")
    server, _, name = rest.partition(" ")
    if not first.isdecimal() or not delivery.isdecimal():
        return BlackBoxRecord()
    return BlackBoxRecord(int(first), name, delivery=int(delivery), server=server)
