"""ForkedJob: a job that runs in a child process, as its parent sees it.

The child writes what it does into memory that both share. The parent reads it whenever it beats, so
a child that hangs need not answer, and the parent knows of one in which no Python code runs.
"""

import mmap
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from beanwatch.durations import format_duration
from beanwatch.worker.monitor.program.monitored_run import MonitoredRun

SIZE = 64 * 1024  # bytes that parent and child share, for each of two notes
SILENT_AFTER = 5.0  # seconds without a sign of Python code, after which this is said
_T = TypeVar("_T")
_HEADER = 8  # bytes: the length of the note, and its checksum


class Doing(msgspec.Struct):
    """The doings of a child: the time (monotonic), the line, CPU seconds, the job's own note."""

    at: float
    line: str
    cpu: float | None
    note: str
    progress: tuple[int, ...]


class Ended(msgspec.Struct):
    """The end of a child's job; `outcome` is one of `beanwatch.outcomes.NAMES`."""

    outcome: str
    reason: str
    traceback: str


class SharedNote:
    """Bytes that a child process writes and its parent reads, in memory that both share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)

    def write(self, body: bytes) -> None:
        """Replace the note. Raises ValueError if it is too long."""
        if len(body) > SIZE - _HEADER:
            raise ValueError(f"{len(body)} bytes are more than {SIZE - _HEADER}")
        header = len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big")
        self._memory[: _HEADER + len(body)] = header + body

    def read(self) -> bytes:
        """Return the note; b"" if there is none, or if the child is writing at this moment."""
        length = int.from_bytes(self._memory[:4], "big")
        body = self._memory[_HEADER : _HEADER + min(length, SIZE)]
        return body if zlib.crc32(body) == int.from_bytes(self._memory[4:_HEADER], "big") else b""


class ForkedJob:
    """Shows a parent what the job of `run` does in a child. Make it before the fork."""

    def __init__(self, run: MonitoredRun, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._doing, self._ended = SharedNote(), SharedNote()
        self._last: Doing | None = None
        self._thread = 0  # the child's, in which the job runs

    # -- in the child

    def report_from_child(self, interval: float) -> None:
        """Write what the job does, every `interval` seconds, in a thread of its own."""
        self._thread = threading.get_native_id()
        self._run.elsewhere = None  # it is here
        self._write_doing("")  # the job has not begun
        threading.Thread(
            target=self._report, args=(interval,), name="beanwatch-job", daemon=True
        ).start()

    def _report(self, interval: float) -> None:
        while True:
            time.sleep(interval)
            self._write_doing(self._run.current_line(sys._current_frames()))

    def _write_doing(self, line: str) -> None:
        run = self._run
        cpu = run.cpu_seconds(self._thread)
        doing = Doing(self._clock(), line, cpu, run.note_text, run.progress)
        self._doing.write(msgspec.json.encode(doing))

    def end_in_child(self, ended: Ended) -> None:
        """Tell the parent how the job ended."""
        self._ended.write(msgspec.json.encode(ended))

    # -- in the parent

    def look(self) -> tuple[str, float | None]:
        """Return the line that the job executes, and its CPU time in seconds (None: not known)."""
        seen = self._last = _decode(self._doing.read(), Doing) or self._last
        if seen is None:
            return "", None
        self._run.set_note(seen.note)
        self._run.progress = seen.progress
        silent = self._clock() - seen.at
        if silent <= SILENT_AFTER:
            return seen.line, seen.cpu
        why = "it is stopped, or C code holds the interpreter lock"
        for_long = f"no Python code has run in its process for {format_duration(silent)}"
        return f"{seen.line or 'an unknown line'} ({for_long}: {why})", seen.cpu

    def read_end(self) -> Ended | None:
        """Return how the job ended; None if the child did not tell."""
        return _decode(self._ended.read(), Ended)


def _decode(body: bytes, kind: type[_T]) -> _T | None:
    """Return a note of the child; None if there is none, or if the job has overwritten it."""
    try:
        return msgspec.json.decode(body, type=kind) if body else None
    except (msgspec.MsgspecError, ValueError):
        return None
