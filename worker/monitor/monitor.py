"""WorkerMonitor: watches the jobs of any Python program as those of a beanwatch worker."""

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextvars import ContextVar

from beanwatch.outcomes import OUTCOMES
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.monitor.beat import Beat
from beanwatch.worker.monitor.exceptions import format_exception_line
from beanwatch.worker.monitor.fork_slots import ForkSlots
from beanwatch.worker.monitor.heartbeat_reporter import Ending
from beanwatch.worker.monitor.run import MonitoredRun
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.settings import MonitorSettings, make_settings
from beanwatch.worker.monitor.state import ProgramState

FAILURES = frozenset(outcome.name for outcome in OUTCOMES if outcome.is_failure)
MAX_NAMES = 1000  # kinds of job; any more would make more and more series
OTHER = "_other"  # the name of all further ones
_current: ContextVar[MonitoredRun | None] = ContextVar("beanwatch_run", default=None)


class WorkerMonitor:
    """Reports the jobs of a program: heartbeats in Redis, metrics, log lines and the ledger.

    A thread beats once a second, with the source line that each job executes. Nothing that fails
    in here ends or delays the program. All methods may be called from any thread, and before
    `start`; then nothing is sent yet.
    """

    def __init__(
        self,
        name: str,
        queues: Sequence[str] = (),
        *,
        kind: str = "other",
        redis: str | None = None,
        host: str | None = None,
        server: str = "",
        config: str | None = None,
        metrics: str | None = None,
        log_file: str | None = None,
        interval: float | None = None,
        job_timeout: float | None = None,
        max_idle: float = 60.0,
        has_own_loop: bool = False,
        app_version: str = "",
    ) -> None:
        self._settings: MonitorSettings = make_settings(
            name,
            queues,
            kind=kind,
            redis=redis,
            host=host,
            server=server,
            config=config,
            metrics=metrics,
            log_file=log_file,
            interval=interval,
            job_timeout=job_timeout,
            max_idle=max_idle,
            has_own_loop=has_own_loop,
            app_version=app_version,
        )
        self._output: LogOutput = self._settings.open_log()
        self._state = ProgramState()
        self._beat: Beat | None = None
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._slots: ForkSlots | None = None
        self._is_child = False  # forked, and not watched yet
        self._parent = ""  # the id of the watched parent
        _watch_forks(self)

    @property
    def worker(self) -> str:
        """The id of this worker: `HOST.NAME`."""
        return self._settings.worker

    @property
    def problem(self) -> str:
        """Why this process does not beat, as another one has its id; "" if there is no problem."""
        return self._beat.problem if self._beat else ""

    def start(self) -> None:
        """Begin to beat. Does not wait for Redis. A second call does nothing."""
        with self._lock:
            if self._beat is not None:
                return
            if self._slots is None:
                self._slots = ForkSlots()
            self._beat = Beat(self._settings, self._state, self._output, self._parent)
            self._beat.start()
        atexit.unregister(self._at_exit)
        atexit.register(self._at_exit)

    def job(
        self,
        queue: str,
        name: str,
        id: int | str,  # noqa: A002 - the word of the record
        *,
        uuid: str = "",
        attempt: int = 1,
        wait: float | None = None,
        timeout: float | None = None,
        hard_timeout: float | None = None,
    ) -> MonitoredRun:
        """Begin a run, for a `with` block: it ends with the block, as `failed` if that raises.

        The arguments are those of `begin`.
        """
        run = self._make_run(queue, name, id, uuid, attempt, wait, timeout, hard_timeout)
        run.note_place(1, is_part=True)
        return run

    def begin(
        self,
        queue: str,
        name: str,
        id: int | str,  # noqa: A002 - the word of the record
        *,
        uuid: str = "",
        attempt: int = 1,
        wait: float | None = None,
        timeout: float | None = None,
        hard_timeout: float | None = None,
    ) -> MonitoredRun:
        """Begin a run in this thread and task, and return it; `end` of it ends it.

        `id` is the id that the queue system gave the job, `uuid` the one by which people look for
        it (default: `id`, if that is a text). `wait` is how long it waited in the queue, in
        seconds; None: not known. After `timeout` seconds it counts as hung (default: the monitor's
        `job_timeout`; 0: never), and after `hard_timeout` the alert is CRITICAL.
        """
        run = self._make_run(queue, name, id, uuid, attempt, wait, timeout, hard_timeout)
        run.note_place(1, is_part=True)
        return run

    def current(self) -> MonitoredRun | None:
        """Return the run of this thread or task that began last and has not ended; None: none."""
        run = _current.get()
        return None if run is None or run.has_ended else run

    def loop(self) -> None:
        """Say that the program's main loop moves. Call this at each turn, also while idle."""
        if self._is_child:
            self.become_child()
        self._state.loop_at = time.monotonic()
        self._state.is_ready = True

    def blocked(self, reason: str, *, is_disconnected: bool = True) -> None:
        """Say why the program cannot take jobs, until `ready`: a WARNING.

        `is_disconnected`: because it cannot use its queue server.
        """
        self._state.is_disconnected, self._state.blocked_by = is_disconnected, reason

    def paused(self, reason: str) -> None:
        """Say why the program takes no jobs on purpose, until `ready`. This is no problem."""
        self._state.paused_by = reason

    def ready(self) -> None:
        """Say that the program takes jobs."""
        self._state.blocked_by = self._state.paused_by = ""
        self.loop()

    def stopping(self, reason: str, timeout: float | None = None) -> None:
        """Say that the program stops after its jobs; more than 10 s after `timeout` it is hung."""
        self._state.stop_reason, self._state.is_stopping = reason, True
        if timeout is not None:
            self._state.shutdown_deadline = time.monotonic() + timeout

    def stop(self, reason: str = "", *, failure: str = "", by_command: bool = False) -> None:
        """Send what is left and end the beat; may take a few seconds.

        The record is removed: the worker has ended, and that is no problem. For an expected one it
        stays until the next one starts. `failure` is why the program ends with an error: then the
        record stays and the worker counts as dead. `by_command`: an operator sent the command.
        """
        with self._lock:
            beat, self._beat = self._beat, None
        if beat is None or self._is_child:
            return
        self.stopping(reason or self._state.stop_reason)
        beat.end(Ending(True, self._state.stop_reason, by_command), failure)

    def become_child(self, slot: int | None = None, *, max_idle: float = 0.0) -> None:
        """Watch this forked process as a worker of its own, `HOST.NAME-SLOT`.

        The first call of `job`, `begin`, `loop` or `ready` in a child does this by itself. `slot`
        is a number from 1 that no living child has; None: the lowest such number. The loop of a
        child is not judged, unless `max_idle` (seconds) is given. Does nothing in a process that
        is no child.
        """
        with self._lock:
            if not self._is_child:
                return
            self._is_child = False
            parent = self._settings.worker
            try:
                number = self._claim(slot)
            except Exception as error:  # no number is free: the child works, but is not watched
                self._settings.make_log("", self._output).error(
                    "a forked process is not watched: {reason}", reason=format_exception_line(error)
                )
                return
            self._settings = self._settings.for_child(number, max_idle)
            self._parent = parent
        self.start()

    def _claim(self, slot: int | None) -> int:
        slots, self._slots = self._slots, None  # the child's own children have their own numbers
        if slots is None:
            return slot or os.getpid()
        if slot is not None and slots.take(slot):
            return slot
        return slots.claim()

    def _make_run(
        self,
        queue: str,
        name: str,
        id: int | str,  # noqa: A002
        uuid: str,
        attempt: int,
        wait: float | None,
        timeout: float | None,
        hard_timeout: float | None,
    ) -> MonitoredRun:
        if self._is_child:
            self.become_child()
        if name not in self._names:
            name = self._know(name)
        run = MonitoredRun(
            queue, name, id, self._on_end, uuid=uuid, attempt=attempt, wait=wait,
            server=self._settings.server,
        )  # fmt: skip
        limit = self._settings.job_timeout if timeout is None else timeout
        if limit:
            run.deadline = run.started_monotonic + limit
        if hard_timeout:
            run.hard_deadline = run.started_monotonic + hard_timeout
        state = self._state
        state.is_ready = True
        state.running[run_key(run)] = run
        _current.set(run)
        return run

    def _know(self, name: str) -> str:
        if len(self._names) >= MAX_NAMES:
            return OTHER
        self._names.add(name)
        return name

    def _on_end(self, run: MonitoredRun, result: Run) -> None:
        state, beat = self._state, self._beat
        state.running.pop(run_key(run), None)
        if not self._settings.has_own_loop:
            state.loop_at = time.monotonic()  # the loop has run the job
        with self._lock:
            state.processed += 1
            state.failed += result.outcome in FAILURES
            state.busy_seconds += result.duration
        if beat is not None:
            beat.on_finished(result)

    def _at_exit(self) -> None:
        error = getattr(sys, "last_value", None)  # the one that ended the program, if one did
        failure = format_exception_line(error) if isinstance(error, Exception) else ""
        self.stop("its program has ended", failure=failure)

    def _after_fork(self) -> None:
        """Forget, in a child, what belongs to the parent: its thread, its locks, its jobs."""
        was_watched = self._beat is not None
        self._lock = threading.Lock()
        self._beat = None
        self._state = ProgramState()
        self._is_child = self._is_child or was_watched


def run_key(run: MonitoredRun) -> int:
    """Return the key of a run among those of its process: two jobs may have the same id."""
    return id(run)


def _watch_forks(monitor: WorkerMonitor) -> None:
    reference = weakref.ref(monitor)

    def after_in_child() -> None:
        if (found := reference()) is not None:
            found._after_fork()

    os.register_at_fork(after_in_child=after_in_child)
