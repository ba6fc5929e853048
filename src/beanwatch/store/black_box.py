"""Reads from a worker's black box, a file on its host, why the worker has exited.

The worker writes it (beanwatch.worker.guard.black_box). Its next instance and the checks on its
host read it: it knows more than Redis if Redis was away when the worker stopped.
"""

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress

from beanwatch.net.address import BackgroundCall
from beanwatch.store.heartbeats import Worker

FILE_NAME = "job"
SIZE = 4096  # bytes: one page
END_MARK = "end"
READ_TIMEOUT = 2.0  # seconds; a disk can hang
_INSTANCE = re.compile("[0-9a-f]{16}")


def directory_name(worker: str, instance: str) -> str:
    """Return the name of the directory of one worker process, which has its black box."""
    return f"beanwatch-{worker}-{instance}"


def read_file(path: str | os.PathLike[str], size: int) -> str:
    """Return the first `size` bytes of a file as text. Raises OSError, also for no plain file."""
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no plain file")
        return file.read(size).decode("utf-8", "replace")


def parse_exit_reason(line: str) -> str | None:
    """Return why the process has exited, from the first line of its black box; None if not said."""
    mark, _, reason = line.partition(" ")
    return reason if mark == END_MARK else None


def read_exit_reason(worker: Worker) -> str | None:
    """Return why a worker has exited, by its black box; "" if it stopped on request.

    None if the black box does not say so, or is not on this host. The path comes from Redis, so
    only a file that has the name of this worker's black box is read.
    """
    heartbeat = worker.heartbeat
    if heartbeat is None or not _INSTANCE.fullmatch(heartbeat.instance):
        return None
    directory, name = os.path.split(heartbeat.black_box)
    expected = directory_name(worker.id, heartbeat.instance)
    if name != FILE_NAME or not os.path.isabs(directory) or "/" in worker.id:
        return None
    if os.path.basename(directory) != expected:
        return None
    try:
        return parse_exit_reason(read_file(heartbeat.black_box, SIZE).partition("\n")[0])
    except (OSError, ValueError):
        return None


def read_exit_reasons(workers: Iterable[Worker]) -> dict[str, str]:
    """Return why workers have exited, by id; see `read_exit_reason`. Leaves out unknown reasons.

    Those that are not read within READ_TIMEOUT, because the disk hangs, are unknown, too.
    """
    found: dict[str, str] = {}
    asked = list(workers)

    def read() -> None:
        for worker in asked:
            reason = read_exit_reason(worker)
            if reason is not None:
                found[worker.id] = reason

    if asked:
        with suppress(TimeoutError, RuntimeError):  # RuntimeError: no more threads are allowed
            BackgroundCall(read, "beanwatch-black-box").wait(READ_TIMEOUT)
    return dict(found)
