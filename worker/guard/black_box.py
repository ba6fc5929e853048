"""The black box: which job a process has in hand, in a file that outlives it.

A heartbeat is up to a second old; a job that kills its worker at once would not be in it.
It also takes the last words of a process that Redis does not hear.
"""

import mmap
import os
from pathlib import Path
from typing import NamedTuple

_SIZE = 512  # bytes
_END = "end"
_NEWLINE = ord("\n")


class LastJob(NamedTuple):
    """The job that a process had in hand when it died; id 0 for none.

    `words` are the last of one that ended by itself, empty if it was told to; else None.
    """

    id: int = 0
    name: str = ""
    words: str | None = None


class BlackBox:
    """Mapped into memory, as it is written twice a job. Raises OSError when it cannot be made."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _SIZE)  # else a disk that is full later would kill us
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)

    def write(self, job_id: int, name: str) -> None:
        """This job is about to run."""
        self._put(b"%d %b" % (job_id, name.encode("utf-8", "replace")))

    def end(self, words: str) -> None:
        """The process ends by itself."""
        self._put(f"{_END} {words}".encode("utf-8", "replace"))

    def clear(self) -> None:
        """No job is in hand."""
        self._map[0] = _NEWLINE

    def _put(self, text: bytes) -> None:
        line = text[: _SIZE - 1] + b"\n"
        self._map[: len(line)] = line


def read_black_box(path: Path) -> LastJob | None:
    """What a dead process wrote; None if there is nothing to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(fd, "rb") as file:
        line = file.read(_SIZE).partition(b"\n")[0]
    first, _, rest = line.decode("utf-8", "replace").partition(" ")
    if first == _END:
        return LastJob(words=rest)
    return LastJob(int(first), rest) if first.isdecimal() else LastJob()
