"""The black box: a file that outlives the process and names the job that it was running.

A heartbeat is up to a second old, so a job that kills its worker at once would be missing in it.
The file also keeps the last words of a process that could not reach Redis.
"""

import mmap
import os
from pathlib import Path
from typing import NamedTuple

_SIZE = 512  # bytes
_END_MARK = "end"
_NEWLINE = ord("\n")


class LastJob(NamedTuple):
    """The job that a process was running when it died; id 0: none.

    `words`: why the process ended by itself ("" if it was told to); None if it was killed.
    """

    id: int = 0
    name: str = ""
    words: str | None = None


class BlackBox:
    """Mapped into memory, because it is written twice a job. Raises OSError."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Otherwise a write to the map kills the process once the disk is full.
            os.posix_fallocate(fd, 0, _SIZE)
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)

    def write(self, job_id: int, name: str) -> None:
        """Note the job that is about to run."""
        self._put(b"%d %b" % (job_id, name.encode("utf-8", "replace")))

    def end(self, words: str) -> None:
        """Note that the process ends by itself, and why."""
        self._put(f"{_END_MARK} {words}".encode("utf-8", "replace"))

    def clear(self) -> None:
        """Note that no job is running."""
        self._map[0] = _NEWLINE

    def _put(self, text: bytes) -> None:
        line = text[: _SIZE - 1] + b"\n"
        self._map[: len(line)] = line


def read_black_box(path: Path) -> LastJob | None:
    """Read the black box of a dead process; None if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(fd, "rb") as file:
        line = file.read(_SIZE).partition(b"\n")[0]
    first, _, rest = line.decode("utf-8", "replace").partition(" ")
    if first == _END_MARK:
        return LastJob(words=rest)
    return LastJob(int(first), rest) if first.isdecimal() else LastJob()
