"""MonitoredRun: one run of a job in a watched program."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypedDict

from beanwatch.durations import finite
from beanwatch.worker.monitor.exceptions import format_exception_line, render_traceback
from beanwatch.worker.monitor.jobs import ObservedJob
from beanwatch.worker.monitor.runs import Run

MAX_ID = 255  # characters


class RunOptions(TypedDict, total=False):
    """Facts that a program may know of a run; `WorkerMonitor.begin` explains them."""

    uuid: str
    attempt: int
    wait: float | None
    timeout: float | None
    hard_timeout: float | None


class MonitoredRun(ObservedJob):
    """A running job. Leave its `with` block, or call `end`, when it has ended.

    Only the process that began the run can end it: in a forked child, `end` does nothing.
    """

    def __init__(
        self,
        queue: str,
        name: str,
        id: int | str,  # noqa: A002 - the word of the record
        on_end: Callable[["MonitoredRun", Run], None],
        options: RunOptions,
        *,
        server: str,
        timeout: float,
    ) -> None:
        self.queue, self.name = queue, name
        self.id = id if isinstance(id, int) else str(id)[:MAX_ID]
        self.started_at, self.started_monotonic = time.time(), time.monotonic()
        self._uuid = options.get("uuid") or ("" if isinstance(id, int) else str(self.id))
        self._attempt, self._wait = options.get("attempt", 1), finite(options.get("wait"))
        self._server = server
        self._on_end: Callable[[MonitoredRun, Run], None] | None = on_end
        own_timeout, hard_timeout = options.get("timeout"), finite(options.get("hard_timeout"))
        if limit := finite(timeout if own_timeout is None else own_timeout):
            self.deadline = self.started_monotonic + limit
        if hard_timeout:
            self.hard_deadline = self.started_monotonic + hard_timeout

    @property
    def uuid(self) -> str:
        """The id that the job's producer gave it; "" if there is none."""
        return self._uuid

    @property
    def attempt(self) -> int:
        """The number of this run, from 1."""
        return self._attempt

    @property
    def has_ended(self) -> bool:
        """True after `end`."""
        return self._on_end is None

    def note(self, text: str, done: int | None = None, total: int = 0) -> None:
        """Set the note, and the progress: `done` of `total` steps (0: total unknown)."""
        self.set_note(text)
        if done is not None:
            self.set_progress(done, total)

    def end(
        self,
        outcome: str = "ok",
        reason: str = "",
        *,
        error: BaseException | None = None,
        traceback: str = "",
        delay: float = 0.0,
    ) -> None:
        """Report how the run ended. A second call does nothing.

        `outcome` is one of `beanwatch.outcomes.NAMES`; `error` gives the reason and the traceback
        if there are no others. `delay`: the job runs again after so many seconds.
        """
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        # They keep the frames' variables and shared memory alive.
        self.callers, self.task, self.elsewhere = (), None, None
        if error is not None:
            reason = reason or format_exception_line(error)
        run = Run(
            server=self._server,
            queue=self.queue,
            job=self.name,
            job_id=self.id,
            attempt=self._attempt,
            outcome=outcome,
            uuid=self._uuid,
            reason=reason,
            traceback=traceback or render_traceback(error),
            started_at=self.started_at,
            wait=self._wait,
            duration=time.monotonic() - self.started_monotonic,
            delay=finite(delay) or 0.0,
        )
        on_end(self, run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.end("ok" if error is None else "failed", error=error)
