"""Store batches of points on disk: each is a text file of lines in Graphite's plaintext format."""

import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from beanwatch.net.files import read_private
from beanwatch.telemetry.graphite import Batch
from beanwatch.telemetry.logging.problems import ProblemLog

MAX_SPOOL_BYTES = 1024 * 1024 * 1024
# <time>.<points>.<source>
FILE_NAME = re.compile(r"[0-9]+\.([0-9]+)\.(.*)", re.DOTALL)
BLOCK_BYTES = 4096  # size of a block of the file system, which the smallest file takes up


@dataclass(eq=False, slots=True)
class Parcel:
    """A batch of points in the outbox: its lines, or the path of its file in the spool."""

    source: str  # a server's node, or "workers"
    points: int  # how many
    lines: bytes = b""
    file: str = ""
    size: int = 0  # bytes on disk, in whole blocks
    stamp: int = 0  # seconds since the epoch; 0 if an earlier process left the batch
    put_at: float = 0.0  # clock time at which the outbox got it
    confirmed_bytes: int = 0  # of its lines, Graphite has read these at the start
    confirmed_points: int = 0

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """Make a parcel that has the lines of the batch in memory."""
        return cls(batch.source, batch.points, batch.lines, stamp=batch.stamp)

    @property
    def points_left(self) -> int:
        """The number of points that Graphite has not confirmed."""
        return self.points - self.confirmed_points


class Spool:
    """A directory of files `<time>.<points>.<source>`; sorted by name, the oldest is first.

    `time` is in nanoseconds, `points` is a number; `limit`, for all files, is in bytes. Files are
    not synced to disk: they survive the end of this process, but may not survive a power failure.
    The constructor raises OSError if it cannot create the directory.
    """

    def __init__(
        self,
        directory: str,
        problems: ProblemLog,
        limit: int = MAX_SPOOL_BYTES,
        *,
        nanoseconds: Callable[[], int] = time.time_ns,
    ) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.directory = directory
        self.limit = limit
        self._problems = problems
        self._nanoseconds = nanoseconds

    def load(self) -> list[Parcel]:
        """Return the batches that an earlier process left, oldest first. Raises OSError.

        Unfinished files of that process are removed. Other files are ignored.
        """
        parcels = []
        for name in sorted(os.listdir(self.directory)):
            path = os.path.join(self.directory, name)
            if not (match := FILE_NAME.fullmatch(name)):
                continue
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode):
                continue
            points, source = match.groups()
            if source.endswith(".new"):
                _unlink(path)
            else:
                size = _blocks(found.st_size)
                parcels.append(Parcel(source, int(points), file=path, size=size))
        return parcels

    def write(self, batch: Batch) -> Parcel:
        """Write a batch to a new file. If that fails, log it and keep the batch in memory."""
        parcel = Parcel.of(batch)
        self.save(parcel)
        return parcel

    def save(self, parcel: Parcel) -> bool:
        """Move the lines of a batch from memory to a new file. Log it if that fails.

        Return True if the batch is on disk.
        """
        if parcel.file:
            return True
        # What Graphite has confirmed of it is not needed any more.
        lines = parcel.lines[parcel.confirmed_bytes :]
        name = f"{self._nanoseconds():020d}.{parcel.points_left}.{parcel.source}"
        path = os.path.join(self.directory, name)
        new = path + ".new"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(new, flags, 0o600), "wb") as stream:
                stream.write(lines)
            os.rename(new, path)
        except OSError as error:
            _unlink(new)
            self._problems.report(
                "spool",
                f"cannot write to spool {self.directory}: {error.strerror}; "
                "points are kept in memory only",
            )
            return False
        self._problems.clear("spool", f"spool {self.directory} can be written again")
        parcel.points, parcel.confirmed_bytes, parcel.confirmed_points = parcel.points_left, 0, 0
        parcel.lines, parcel.file, parcel.size = b"", path, _blocks(len(lines))
        return True

    def read(self, parcel: Parcel) -> bytes:
        """Return all whole lines of a batch on disk. Raises OSError, also if there is none.

        A power failure may have cut the file. The next batch must not continue its last line.
        """
        content = read_private(parcel.file)
        if content is None:
            raise FileNotFoundError(2, "No such file", parcel.file)
        if parcel.points and b"\n" not in content:
            raise FileNotFoundError(2, "It has no whole line", parcel.file)
        return content[: content.rfind(b"\n") + 1]

    def remove(self, parcel: Parcel) -> None:
        """Remove the file of a batch; do nothing for a batch in memory."""
        if parcel.file:
            _unlink(parcel.file)


def _blocks(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # somebody else may have removed the file
        return
