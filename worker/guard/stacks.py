"""Reads the stacks of the worker's threads, for the heartbeat, the log and the command `dump`."""

import sys
import sysconfig
import threading
import time
import traceback
from types import FrameType
from typing import Any

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib"))
# The function that calls handlers, and its module.
_CALLER_OF_HANDLERS = ("_call", "beanwatch.worker.core.run")


def dump_stacks() -> str:
    """Return the stacks of all threads as text, that of the main thread first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sorted(sys._current_frames().items(), key=lambda item: not _is_main(item)):
        stack = "".join(traceback.format_stack(frame))
        parts.append(f"Thread {names.get(ident, ident)}:\n{stack}")
    return "\n".join(parts)


def find_handler_frame(coroutine: Any = None) -> str:
    """Return the running handler's current line as `file:line function`; "" if none runs.

    Lines in libraries are skipped. For an async handler pass its coroutine: while the coroutine
    awaits, it is on no thread's stack.
    """
    while coroutine is not None:
        awaits: Any = getattr(coroutine, "cr_await", None)
        inner: FrameType | None = getattr(awaits, "cr_frame", None)  # read once: it may end soon
        if inner is None or _is_library(inner):
            return _format_frame(getattr(coroutine, "cr_frame", None))
        coroutine = awaits
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    found: FrameType | None = None
    innermost = frame
    while frame is not None:
        here = (frame.f_code.co_name, frame.f_globals.get("__name__"))
        if here == _CALLER_OF_HANDLERS:
            return _format_frame(found or innermost)
        if found is None and not _is_library(frame):
            found = frame
        frame = frame.f_back
    return ""  # no handler runs


def read_main_cpu() -> float:
    """Return the seconds of CPU time that the main thread has used; 0 if not on Linux."""
    try:
        clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
        return time.clock_gettime(clock)
    except (AttributeError, OSError):
        return 0.0


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(("<", *_LIBRARIES))


def _format_frame(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _is_main(item: tuple[int, FrameType]) -> bool:
    return item[0] == threading.main_thread().ident
