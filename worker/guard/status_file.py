"""StatusFile: writes the worker's status into a file, for `beanwatch_probe` on the same host."""

import mmap
import os
from pathlib import Path

from beanwatch.store.worker_status import DEADLINE, DEADLINE_AT, SIZE, WorkerStatus, encode_status


class StatusFile:
    """A file that is mapped into memory, so that no disk delays a write.

    The constructor creates the file. Raises OSError if it exists or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._map = create_map(path, SIZE)

    def write(self, status: WorkerStatus) -> None:
        """Replace the status, with the hard deadline of the running job."""
        line = encode_status(status)
        self._map[: len(line)] = line
        self.start_job(status.hard_deadline)

    def start_job(self, hard_deadline: float) -> None:
        """Write the hard deadline (monotonic) of a job that starts. This takes 0.2 us."""
        DEADLINE.pack_into(self._map, DEADLINE_AT, hard_deadline)

    def move_to(self, path: Path) -> None:
        """Write to a new file: the old one was removed. Raises OSError."""
        new = create_map(path, SIZE)
        new[:] = self._map[:]
        self._map = new


def create_map(path: Path, size: int) -> mmap.mmap:
    """Create a file of `size` bytes, and map it into memory. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Without this, a write to the map would kill the process when the disk is full.
        os.posix_fallocate(fd, 0, size)
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)
