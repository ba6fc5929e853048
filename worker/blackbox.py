"""The black box: which job a process has in hand, in a file that outlives it.

A heartbeat is up to a second old; a job that kills its worker at once would not be in it.
"""

import os
from pathlib import Path
from typing import NamedTuple

_SIZE = 512  # bytes


class LastJob(NamedTuple):
    """The job that a process had in hand when it died; id 0 for none."""

    id: int = 0
    name: str = ""


class BlackBox:
    """Writes are a system call each and never raise: a full disk must not stop a job."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self.clear()

    def write(self, job_id: int, name: str) -> None:
        """This job is about to run."""
        self._put(f"{job_id} {name}".encode()[: _SIZE - 1] + b"\n")

    def clear(self) -> None:
        """No job is in hand."""
        self._put(b"\n")

    def _put(self, line: bytes) -> None:
        try:
            os.pwrite(self._fd, line, 0)
        except OSError:
            pass  # the heartbeat still tells, a second late


def read_black_box(path: Path) -> LastJob | None:
    """What a dead process wrote; None if there is nothing to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(fd, "rb") as file:
        line = file.read(_SIZE).partition(b"\n")[0]
    number, _, name = line.partition(b" ")
    return LastJob(int(number), name.decode("utf-8", "replace")) if number.isdigit() else LastJob()
