"""Writes and reads the black box: files that tell the next instance how this process ended.

They survive a kill. One names the running job: the heartbeat does too, but it is up to a second
old, so it may miss a job that kills its worker at once. This file also keeps the exit reason of a
worker that could not reach Redis; the checks read it, too (beanwatch.store.black_box). Into the
other two, C code writes the stacks of all threads: when the process crashes or its watchdog ends
it, and when no Python code runs while it is idle.
"""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from beanwatch.outcomes import NAMES
from beanwatch.store.black_box import END_MARK, SIZE, parse_exit_reason, read_file
from beanwatch.store.worker_status import FILE_NAME as STATUS
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.guard.status_file import StatusFile, create_map
from beanwatch.worker.monitor.runs import Run

_MAX_NAME = 200  # characters of a job's name; an entry must fit into a page
_MAX_TEMPLATES = 1000
_MAX_LINE = SIZE - 32  # bytes of the first line; the rest is for the outcome
_MAX_STACKS = 64 * 1024  # bytes that are read of stacks
_NEWLINE = ord("\n")
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND


class BlackBoxRecord(NamedTuple):
    """Holds the content of an ended process's black box. `run` is None if no job was running.

    The outcome of `run` is "" if its handler was running. Else the worker was about to acknowledge
    the job with this outcome, and did not learn whether beanstalkd had done so.

    `exit_reason` is None if the process was killed, and "" if it stopped on request. `stacks` were
    written as it crashed or as its watchdog ended it; "" if neither happened.
    """

    run: Run | None = None
    exit_reason: str | None = None
    stacks: str = ""


class BlackBox:
    """Writes the black box. The file of the job is mapped into memory: each job writes it thrice.

    Its first line is the run, or why the process exits; its second one the outcome of the run.

    The constructor creates the files, and raises OSError if they exist or cannot be created.
    `status` is the file beside it for the probes. `fatal_stacks` and `idle_stacks` are descriptors
    of open files, for `faulthandler`.
    """

    def __init__(self, path: Path) -> None:
        self._map = create_map(path, SIZE)
        self._end = 0  # of the first line
        self.status = StatusFile(path.with_name(STATUS))
        self._encode = msgspec.json.Encoder().encode
        self._templates: dict[tuple[str, str, str], bytes] = {}  # by server, queue and job
        # Open until the process has ended, since C code may write to them at any time.
        self.fatal_stacks = _create(_fatal(path))
        self.idle_stacks = _create(path.with_name(f"{path.name}.idle"))

    def write_run(self, job: RunningJob, server: str) -> None:
        """Write the run that is about to start. `server` is the `id` in beanstalkd's `stats`.

        It is a Run as JSON, from a template: to make and encode a Run takes four times as long.
        """
        kind = server, job.queue, job.name
        template = self._templates.get(kind) or self._make_template(*kind)
        encode = self._encode
        times = encode(job.started_at), encode(job.wait)
        line = template % (job.id, job.stats.reserves, encode(job.uuid), *times)
        if len(line) >= _MAX_LINE:
            line = template % (job.id, job.stats.reserves, b'""', *times)
        self._put(line)

    def _make_template(self, server: str, queue: str, name: str) -> bytes:
        named = {"server": server, "queue": queue, "job": name[:_MAX_NAME], "outcome": ""}
        head = self._encode(named)[:-1].replace(b"%", b"%%")
        rest = b',"job_id":%d,"attempt":%d,"uuid":%b,"started_at":%b,"wait":%b}'
        if len(self._templates) >= _MAX_TEMPLATES:  # a restarted server has another id
            self._templates.clear()
        template = self._templates[server, queue, name] = head + rest
        return template

    def write_outcome(self, outcome: str) -> None:
        """Write how the run has ended, before the job is acknowledged."""
        line = b"%b\n" % outcome.encode()
        self._map[self._end : self._end + len(line)] = line

    def write_exit(self, reason: str) -> None:
        """Write why the process exits; "" if it was stopped on request."""
        line = f"{END_MARK} {reason}\n".encode("utf-8", "replace")
        # Nothing of the last job stays: every user of the host may read this.
        self._put(line.ljust(SIZE, b"\0"))

    def move_to(self, path: Path) -> None:
        """Write the running job to a new file: the old one was removed. Raises OSError.

        The files of the stacks are not made again, because C code may be writing to the old ones.
        """
        new = create_map(path, SIZE)
        new[:] = self._map[:]
        self._map = new
        status = path.with_name(STATUS)
        if not status.exists():
            self.status.move_to(status)

    def clear(self) -> None:
        """Mark that no job is running."""
        self._map[0] = _NEWLINE

    def take_idle_stacks(self) -> str:
        """Return the stacks that were written while no Python code ran, and remove them."""
        fd = self.idle_stacks
        if not os.fstat(fd).st_size:
            return ""
        text = os.pread(fd, _MAX_STACKS, 0).decode("utf-8", "replace")
        os.ftruncate(fd, 0)
        return text

    def _put(self, text: bytes) -> None:
        line = text[:_MAX_LINE] + b"\n\n"
        self._map[: len(line)] = line
        self._end = len(line) - 1


def read_black_box(path: Path) -> BlackBoxRecord | None:
    """Read the black box of a process that has ended; None if it cannot be read."""
    try:
        line, _, rest = read_file(path, SIZE).partition("\n")
    except OSError:
        return None
    try:
        stacks = read_file(_fatal(path), _MAX_STACKS)
    except OSError:
        stacks = ""
    reason = parse_exit_reason(line)
    if reason is not None:
        return BlackBoxRecord(exit_reason=reason)
    if not line.strip("\0"):
        return BlackBoxRecord(stacks=stacks)
    try:
        run = msgspec.json.decode(line, type=Run)
    except msgspec.MsgspecError:
        return None  # another version of beanwatch wrote it
    outcome, end, _ = rest.partition("\n")
    if end and outcome in NAMES:
        run = replace(run, outcome=outcome)
    return BlackBoxRecord(run, stacks=stacks)


def _fatal(path: Path) -> Path:
    return path.with_name(f"{path.name}.stacks")


def _create(path: Path) -> int:
    return os.open(path, _FLAGS, 0o600)
