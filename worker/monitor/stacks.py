"""Reads the stacks of threads and tasks, for the heartbeat, the log and the command `dump`."""

import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

# Code of libraries: a job's line is looked for elsewhere. `scripts` has the programs that start a
# framework's worker.
_LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "scripts")),
    os.path.dirname(__file__),
)
_USER_TIME = 14 - 3  # in /proc/<pid>/stat; the time in the kernel follows
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MAX_CALLERS = 12  # of the function that begins a run


def dump_stacks() -> str:
    """Return the stacks of all threads as text, that of the main thread first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sorted(sys._current_frames().items(), key=lambda item: not _is_main(item)):
        stack = "".join(traceback.format_stack(frame))
        parts.append(f"Thread {names.get(ident, ident)}:\n{stack}")
    return "\n".join(parts)


def find_callers(depth: int, most: int = MAX_CALLERS) -> tuple[FrameType, ...]:
    """Return the frame `depth` calls above the caller's, and those that called it: `most` in all.

    A job's line is on the stack above the innermost of them that still runs. One is enough if that
    one runs as long as the job.
    """
    frame: FrameType | None = sys._getframe(depth + 1)
    found: list[FrameType] = []
    while frame is not None and len(found) < most:
        found.append(frame)
        frame = frame.f_back
    return tuple(found)


def find_thread_line(
    frame: FrameType | None, callers: Sequence[FrameType], *, is_part: bool = False
) -> str:
    """Return the line that a thread executes as `file:line function`; "" if it is below `callers`.

    `frame` is the thread's innermost frame. Lines in libraries are skipped, unless there is no
    other one above `callers`. `is_part`: the innermost caller that runs is part of the job.
    """
    found: FrameType | None = None
    innermost = frame
    while frame is not None:
        if frame in callers:
            if found is None and is_part and (innermost is frame or not _is_library(frame)):
                found = frame
            return _format_frame(found or (innermost if innermost is not frame else None))
        if found is None and not _is_library(frame):
            found = frame
        frame = frame.f_back
    return _format_frame(found)


def find_coroutine_line(coroutine: Any) -> str:
    """Return the line at which a suspended coroutine awaits, as `file:line function`.

    It is that of the innermost coroutine, but not of those in libraries.
    """
    found = getattr(coroutine, "cr_frame", None)
    while (coroutine := getattr(coroutine, "cr_await", None)) is not None:
        inner: FrameType | None = getattr(coroutine, "cr_frame", None)  # it may end at any time
        if inner is None or _is_library(inner):
            break
        found = inner
    return _format_frame(found)


def read_thread_cpu(native_id: int) -> float | None:
    """Return the seconds of CPU time that a thread of this process has used; None: not known.

    Not by the thread's clock (pthread_getcpuclockid): for a thread that has ended, that crashes.
    """
    try:
        with open(f"/proc/self/task/{native_id}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()  # they begin with the third field
        return (int(fields[_USER_TIME]) + int(fields[_USER_TIME + 1])) / _TICKS_PER_SECOND
    except (OSError, ValueError, IndexError):
        return None


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(("<", *_LIBRARIES))


def _format_frame(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _is_main(item: tuple[int, FrameType]) -> bool:
    return item[0] == threading.main_thread().ident
