"""The state of a worker that its probes judge, and the file on its host that has it.

The worker writes the file (beanwatch.worker.guard.status_file). `beanwatch_probe` reads it: so this
module imports little.
"""

import struct
import zlib
from collections import namedtuple

FILE_NAME = "status"
SIZE = 4096  # bytes: one page
MAX_REASON = 300  # characters
DEADLINE = struct.Struct("=d")  # at the end of the page; written at the start of each job
DEADLINE_AT = SIZE - DEADLINE.size
FORMAT = b"1"
# Seconds after a job's hard deadline, or the end of the time for a stop, in which the worker itself
# still ends its run and its process.
END_MARGIN = 10.0
STALE_AFTER = 10.0  # seconds; the worker writes its status every second


class StatusError(ValueError):
    """Raised if a file is no status of a worker; the text says why."""


_Fields = namedtuple(
    "_Fields",
    "pid beat_at loop_at max_idle ends_at is_connected reason hard_deadline",
    defaults=("", 0.0),
)


class WorkerStatus(_Fields):
    """The state of a worker. Times are of the host's monotonic clock, in seconds; 0 means none.

    Not a typing.NamedTuple: importing typing takes longer than all else that the probe does.
    """

    __slots__ = ()
    pid: int
    beat_at: float  # when this was true
    loop_at: float  # when the main thread last ran its loop
    max_idle: float  # seconds for which it need not run its loop while no job runs
    ends_at: float  # when the time ends that a stopping worker has; 0: it does not stop
    is_connected: bool  # to its queue server
    reason: str  # why it is not connected, or takes no jobs
    hard_deadline: float  # of the running job


def why_not_live(status: WorkerStatus, now: float) -> str:
    """Return why a worker is not alive; "" if it is. `now` is by the clock of the status.

    Its main thread moves, or its job is before its hard deadline. Neither the queue server nor
    Redis matters.
    """
    if status.hard_deadline:
        late = now - status.hard_deadline - END_MARGIN
        return f"its job runs {END_MARGIN + late:.0f} s after its hard deadline" if late > 0 else ""
    if status.ends_at:
        late = now - status.ends_at - END_MARGIN
        return f"it has not stopped {END_MARGIN + late:.0f} s after its time" if late > 0 else ""
    idle = now - status.loop_at
    return f"its main thread has not moved for {idle:.0f} s" if idle > status.max_idle else ""


def why_not_ready(status: WorkerStatus) -> str:
    """Return why a worker is not connected to its queue server; "" if it is."""
    if status.is_connected:
        return ""
    return status.reason or "it is not connected to its queue server yet"


def encode_status(status: WorkerStatus) -> bytes:
    """Return the beginning of the status file: one line, which has a checksum."""
    words = (
        f"{status.pid} {status.beat_at:.3f} {status.loop_at:.3f} {status.max_idle:.3f} "
        f"{status.ends_at:.3f} {status.is_connected:d} "
    )
    reason = " ".join(status.reason[:MAX_REASON].split())
    line = f"{words}{reason}".encode("utf-8", "replace")
    return b"%b %08x %b\n" % (FORMAT, zlib.crc32(line), line)


def parse_status(page: bytes) -> WorkerStatus:
    """Parse the content of a status file. Raises StatusError, also for one that is half written."""
    head, _, line = page.partition(b"\n")[0].partition(b" ")
    checksum, _, line = line.partition(b" ")
    if len(page) != SIZE or head != FORMAT:
        raise StatusError("it is of another version of beanwatch, or not written yet")
    try:
        if int(checksum, 16) != zlib.crc32(line):
            raise StatusError("its checksum is wrong")
        pid, *times, connected, reason = line.decode().split(" ", 6)
        beat_at, loop_at, max_idle, ends_at = map(float, times)
        (deadline,) = DEADLINE.unpack_from(page, DEADLINE_AT)
        return WorkerStatus(
            int(pid), beat_at, loop_at, max_idle, ends_at, connected == "1", reason, deadline
        )
    except StatusError:
        raise
    except ValueError:
        raise StatusError("it cannot be parsed") from None
