"""HostWatch: stops or pauses the worker at limits of memory, free disk space and running time."""

import time
from collections.abc import Callable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import BackgroundCall
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.guard.temporary import Room, TemporaryRoot
from beanwatch.worker.monitor.facts import ProcessFacts

DISK_WAIT = 0.2  # seconds that a tick waits for a measurement of the disk
DISK_TIMEOUT = 5.0  # seconds after which a disk that does not respond counts as hanging
MIN_FREE_INODES = 1000
MIN_FREE_INODES_SHARE = 20  # or a 20th of all, for a small file system


class HostLimits(NamedTuple):
    """The limits at which a worker stops or pauses; 0 means no limit."""

    # Bytes on the file system of the jobs' temporary directories. If set, free inodes count too.
    min_free_disk: int = 0
    max_memory: float = 0.0  # bytes of resident memory
    max_time: float = 0.0  # seconds since the worker's start


class HostWatch(ProcessFacts):
    """Measures memory and free disk space at each tick, and enforces the limits.

    `rss` and `disk_free` are the bytes measured at the last tick. Above `max_memory`, or after
    `max_time`, the worker exits with code 10, so that its supervisor restarts it, but not while an
    operator has paused it (`wait`). Below `min_free_disk` it takes no jobs until enough space is
    free; neither while jobs cannot have temporary directories, nor while the disk hangs. The disk
    is measured in a thread, so that a disk that hangs does not stop the heartbeat.
    """

    def __init__(
        self,
        state: WorkerState,
        connection: WorkerConnection,
        temporary: TemporaryRoot,
        limits: HostLimits,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._connection, self._temporary = state, connection, temporary
        self._limits, self._log = limits, log
        self._ends_at = clock() + limits.max_time if limits.max_time else 0.0
        self._measuring: BackgroundCall[Room] | None = None
        self._measuring_since = 0.0
        self._disk_problem = ""  # its kind: the text in `disk_full` may hold a number

    def tick(self, now: float) -> None:
        """Measure, and stop or pause the worker at a limit. `now` is monotonic, in seconds."""
        self.measure()
        if not self._state.is_waiting:
            rss = self.rss or 0
            if self._limits.max_memory and rss > self._limits.max_memory:
                self._recycle(f"it uses {rss >> 20} MiB of memory, over its limit")
            if self._ends_at and now >= self._ends_at:
                self._recycle("it has run for max_time")
        self._check_disk(now)

    def _recycle(self, limit: str) -> None:
        if self._state.is_running:
            self._state.recycle(limit)
            self._connection.interrupt()

    def _check_disk(self, now: float) -> None:
        try:
            room = self._measure(now)
        except TimeoutError:
            # Soon after the start of a measurement nothing is known yet, so nothing changes.
            if now - self._measuring_since >= DISK_TIMEOUT:
                reason = f"the disk of {self._temporary.path} does not respond"
                self._set_disk_problem("hangs", reason)
            return
        except OSError as error:
            reason = f"{error.filename or self._temporary.path}: {error.strerror}"
            self._set_disk_problem("unusable", f"cannot use the temporary directory {reason}")
            return
        self.disk_free = room.free
        if self._temporary.still_removing:
            reason = f"removing temporary files in {self._temporary.path} hangs"
            self._set_disk_problem("removing", reason)
        else:
            self._set_disk_problem(*self._judge(room))

    def _measure(self, now: float) -> Room:
        """Return the room on the disk. Raises TimeoutError if it is not known yet, or OSError."""
        measuring, wait = self._measuring, 0.0
        if measuring is None:
            self._measuring_since, wait = now, DISK_WAIT
            try:
                measuring = BackgroundCall(self._temporary.measure, "beanwatch-disk")
            except RuntimeError as error:  # the system allows no more threads
                raise TimeoutError(str(error)) from None
        try:
            return measuring.wait(wait)
        finally:
            self._measuring = measuring if measuring.is_running else None

    def _judge(self, room: Room) -> tuple[str, str]:
        """Return the kind of a lack of room, and a text that names it; two empty texts if none."""
        least, where = self._limits.min_free_disk, self._temporary.path.parent
        if room.free < least:
            free, limit = show_sizes(room.free, least)
            return "full", f"only {free} of disk are free in {where}, under {limit}"
        least_inodes = min(MIN_FREE_INODES, room.all_inodes // MIN_FREE_INODES_SHARE)
        if least and room.inodes is not None and room.inodes < least_inodes:
            free = f"{room.inodes} inodes (files) of the disk are free in {where}"
            return "inodes", f"only {free}, under {least_inodes}"
        return "", ""

    def _set_disk_problem(self, kind: str, reason: str) -> None:
        """Take no jobs for this reason, or take them again if `kind` is ""; log each change."""
        state = self._state
        if kind == self._disk_problem:
            return
        self._disk_problem, state.disk_full = kind, reason
        if kind:
            self._log.warning("the worker takes no jobs: {reason}", reason=reason)
            self._connection.interrupt()
        else:
            self._log.info("the worker takes jobs again: there is room for temporary files")
            state.wake.set()


def show_sizes(less: int, more: int) -> tuple[str, str]:
    """Return two numbers of bytes in MiB; in bytes if they would look alike."""
    one, other = f"{less >> 20} MiB", f"{more >> 20} MiB"
    return (one, other) if one != other else (f"{less} bytes", f"{more} bytes")


def stop_once(state: WorkerState, connection: WorkerConnection, why: str, code: int) -> None:
    """Stop the worker with a reason and an exit code, unless it is already stopping.

    A worker that is waiting for a job stops waiting. A running job is finished first.
    """
    if state.is_running:
        state.stop(why, code)
        connection.interrupt()
