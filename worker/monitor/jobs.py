"""ObservedJob: a running job as the record shows it; finds the line that it executes."""

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, Protocol

from beanwatch.store.heartbeats import JobRecord
from beanwatch.worker.monitor.stacks import (
    MAX_CALLERS,
    find_callers,
    find_coroutine_line,
    find_thread_line,
    read_thread_cpu,
)

MAX_PROGRESS = 2**53  # many JSON readers use doubles, which are not exact for larger numbers
MAX_NOTE = 200  # characters in the heartbeat


class Elsewhere(Protocol):
    """A view of a job that runs in another process."""

    def look(self) -> tuple[str, float | None]:
        """Return the line that it executes, and its CPU time in seconds (None: not known)."""


class ObservedJob:
    """The facts about a running job that the record shows. Deadlines are monotonic; 0 means none.

    Class attributes, because most runs never set them, and the constructor runs for each job.
    """

    id: int | str
    name: str
    queue: str
    started_monotonic: float
    deadline = hard_deadline = 0.0
    note_text = ""
    progress: tuple[int, ...] = ()
    callers: tuple[FrameType, ...] = ()  # see `find_callers`
    caller_is_part = False  # the innermost of them is part of the job
    thread = 0  # its identifier
    task: asyncio.Task[Any] | None = None
    shares_thread = False  # other jobs run in the same thread, as tasks
    elsewhere: Elsewhere | None = None  # it runs in another process
    _cpu_before: float | None = None  # of the thread, at the run's first heartbeat

    @property
    def uuid(self) -> str:
        """The id that the job's producer gave it; "" if there is none."""
        return ""

    @property
    def attempt(self) -> int | None:
        """The number of this run, from 1; None: not known."""
        return None

    def note_place(self, depth: int, *, is_part: bool) -> None:
        """Remember where the job runs: the present thread and task, and the frames above.

        `depth` is that of the function that begins the run, above the caller of this method. With
        `is_part`, that function is part of the job, and may return before the job ends.
        """
        most = MAX_CALLERS if is_part else 1
        self.callers, self.caller_is_part = find_callers(depth + 1, most), is_part
        self.thread = threading.get_ident()
        if asyncio._get_running_loop() is not None:
            self.task, self.shares_thread = asyncio.current_task(), True

    def forget_place(self) -> None:
        """Look for no line of the job in this process: it runs in another one, or has ended."""
        self.callers, self.task, self.thread, self.native_thread = (), None, 0, 0

    def set_note(self, text: str) -> None:
        """Set a text for the heartbeat; cut to 200 characters."""
        self.note_text = cut_note(text)

    def set_progress(self, done: int, total: int = 0) -> None:
        """Set the progress for the heartbeat: `done` of `total` steps (0: total unknown).

        If one of them is negative, infinite or no number, no progress is shown. The job goes on.
        """
        steps: tuple[int, ...] = ()
        try:
            steps = (min(int(done), MAX_PROGRESS), min(int(total), MAX_PROGRESS))
        except (OverflowError, TypeError, ValueError):
            pass  # it is infinite, or no number
        self.progress = steps if min(steps, default=0) >= 0 else ()

    def current_line(self, frames: dict[int, FrameType]) -> str:
        """Return the line that the job executes as `file:line function`; "" if it is not known.

        `frames` are those of `sys._current_frames`.
        """
        task = self.task
        if task is not None and not _is_running(task):
            return find_coroutine_line(task.get_coro())
        frame = frames.get(self.thread)
        return find_thread_line(frame, self.callers, is_part=self.caller_is_part)

    def look(
        self, frames: dict[int, FrameType], native_thread: int | None
    ) -> tuple[str, float | None]:
        """Return the job's line and its CPU time, also if it runs in another process.

        That may also set its note and progress. `frames` are those of `sys._current_frames`,
        `native_thread` is the identifier that the system gave the job's thread.
        """
        if self.elsewhere is not None:
            return self.elsewhere.look()
        return self.current_line(frames), self.cpu_seconds(native_thread)

    def cpu_seconds(self, native_thread: int | None) -> float | None:
        """Return the CPU time since the run's first heartbeat; None: not known.

        `native_thread` is the identifier that the system gave the job's thread.
        """
        if self.shares_thread or not native_thread:
            return None
        cpu = read_thread_cpu(native_thread)
        if cpu is None:
            return None
        if self._cpu_before is None:
            self._cpu_before = cpu
        return round(max(0.0, cpu - self._cpu_before), 3)


def cut_note(text: str) -> str:
    """Return a text as the heartbeat can carry it: 200 characters at most."""
    # A file name may hold lone surrogates, which JSON cannot carry.
    return str(text)[:MAX_NOTE].encode("utf-8", "backslashreplace").decode()


def make_job_records(jobs: Sequence[ObservedJob], ahead: float) -> tuple[JobRecord, ...]:
    """Return the records of running jobs. `ahead` is the wall clock minus the monotonic one."""
    if not jobs:
        return ()
    frames = sys._current_frames()
    threads = {thread.ident: thread for thread in threading.enumerate()}
    main = threading.main_thread().ident
    # A forked child has its parent's native_id of the main thread, whose number is that of the
    # process.
    numbers = {ident: thread.native_id for ident, thread in threads.items()} | {main: os.getpid()}
    names = {ident: thread.name for ident, thread in threads.items() if ident != main}
    records = tuple(
        _make_record(
            job, job.look(frames, numbers.get(job.thread)), ahead, names.get(job.thread, "")
        )
        for job in jobs
    )
    # It has the frame of this function, too. This cycle would keep all frames, with all that the
    # jobs have loaded, until the next garbage collection.
    frames.clear()
    return records


def _make_record(
    job: ObservedJob, seen: tuple[str, float | None], ahead: float, thread: str
) -> JobRecord:
    line, cpu = seen
    return JobRecord(
        id=str(job.id),
        uuid=job.uuid,
        name=job.name,
        queue=job.queue,
        attempt=job.attempt,
        where=line,
        note=job.note_text,
        progress=job.progress,
        started_at=ahead + job.started_monotonic,
        cpu=cpu,
        deadline=ahead + job.deadline if job.deadline else 0.0,
        hard_deadline=ahead + job.hard_deadline if job.hard_deadline else 0.0,
        thread=thread,
    )


def _is_running(task: asyncio.Task[Any]) -> bool:
    """Return True if its loop executes the task now, rather than another one."""
    try:
        return asyncio.current_task(task.get_loop()) is task
    except RuntimeError:
        return False
