"""WorkerMonitor: watches the jobs of any Python program as those of a beanwatch worker."""

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Unpack

from structlog.typing import FilteringBoundLogger

from beanwatch.durations import finite
from beanwatch.store.run_totals import MAX_NAME
from beanwatch.worker.control.commands import OWN, Commands, OnCommand, check_functions
from beanwatch.worker.control.inbox import CommandInbox
from beanwatch.worker.control.redis_mailbox import RedisMailbox
from beanwatch.worker.monitor.exceptions import format_exception_line
from beanwatch.worker.monitor.facts import ProcessFacts
from beanwatch.worker.monitor.heartbeat.ended_children import EndedChild, EndedChildren
from beanwatch.worker.monitor.heartbeat.heartbeat_reporter import Ending
from beanwatch.worker.monitor.jobs import cut_note
from beanwatch.worker.monitor.program.beat_thread import BeatThread
from beanwatch.worker.monitor.program.fork_slots import ForkSlots
from beanwatch.worker.monitor.program.forks import call_at_exit, watch_forks
from beanwatch.worker.monitor.program.monitored_run import MonitoredRun, RunOptions
from beanwatch.worker.monitor.program.settings import MonitorOptions, make_settings
from beanwatch.worker.monitor.program.state import ProgramState
from beanwatch.worker.monitor.runs import Run

MAX_NAMES = 1000  # of jobs, and of queues; any more would make more and more series
OTHER = "_other"  # stands for all further ones
IGNORED_INTERVAL = 60.0  # seconds between two log lines about ignored messages
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
        commands: Mapping[str, OnCommand] | None = None,
        reports_jobs: bool = True,
        facts: ProcessFacts | None = None,
    ) -> None:
        """Read the configuration; docs/worker-record.md explains the arguments.

        `reports_jobs`: False if nobody knows whether the program runs a job; then it counts as busy
        until the first call of `job` or `begin`. `facts` measures another process than this one.

        Raises ValueError for a wrong argument, ConfigError for a wrong configuration, OSError if
        the log file cannot be opened.
        """
        self._functions = dict(commands or {})
        check_functions(self._functions)
        options = MonitorOptions(
            kind,
            redis,
            host,
            server,
            config,
            metrics,
            log_file,
            interval,
            job_timeout,
            max_idle,
            has_own_loop,
            app_version,
        )
        self._settings = make_settings(name, queues, options, (*OWN, *self._functions))
        self._output = self._settings.open_log()
        self._state = ProgramState(reports_jobs=reports_jobs)
        self._facts = facts or ProcessFacts()
        self._beat: BeatThread | None = None
        self._commands: Commands | None = None
        self._ended_children: EndedChildren | None = None
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._queues: set[str] = set()
        self._slots: ForkSlots | None = None  # for the children of this process
        self._own_slot: ForkSlots | None = None  # in a child: has its number, as long as it is open
        self._next_ignored = 0.0
        self._is_child = False  # forked, and not watched yet
        self._parent = ""  # the id of the watched parent
        watch_forks(self)

    @property
    def worker(self) -> str:
        """The id of this worker: `HOST.NAME`."""
        return self._settings.worker

    @property
    def problem(self) -> str:
        """Why this process does not beat, as another one has its id; "" if there is no problem."""
        return self._beat.problem if self._beat else ""

    @property
    def is_ready(self) -> bool:
        """True once the program has said that it takes jobs, or has run one."""
        return self._state.is_ready

    @property
    def interval(self) -> float:
        """The seconds between two heartbeats."""
        return self._settings.interval

    @property
    def log(self) -> FilteringBoundLogger:
        """The log of the monitor; the program's own logging is another one."""
        beat = self._beat
        return beat.log if beat else self._settings.make_log("", self._output)

    def reopen_log(self) -> None:
        """Open the log file anew before the next line, as after logrotate."""
        self._output.reopen()

    def start(self) -> None:
        """Begin to beat. Does not wait for Redis. A second call does nothing.

        If the system allows no thread, that is logged, and the program is not watched.
        """
        with self._lock:
            if self._beat is not None:
                return
            self._state.restart()
            try:
                self._slots = self._slots or ForkSlots()
                beat = self._make_beat()
                beat.start()
            except (RuntimeError, OSError) as error:
                self._complain("this process", error)
                return
            self._beat = beat
        call_at_exit(self._at_exit)

    def job(
        self,
        queue: str,
        name: str,
        id: int | str,  # noqa: A002 - the word of the record
        **options: Unpack[RunOptions],
    ) -> MonitoredRun:
        """Begin a run, for a `with` block: it ends with the block, as `failed` if that raises.

        The arguments are those of `begin`.
        """
        run = self._begin(queue, name, id, options)
        run.note_place(1, is_part=True)
        return run

    def begin(
        self,
        queue: str,
        name: str,
        id: int | str,  # noqa: A002 - the word of the record
        **options: Unpack[RunOptions],
    ) -> MonitoredRun:
        """Begin a run in this thread and task, and return it; `end` of it ends it.

        `id` is the id that the queue system gave the job, `uuid` the one by which people look for
        it (default: `id`, if that is a text). `attempt` is 1 in the first run. `wait` is how long
        the job waited in the queue, in seconds; None: not known. After `timeout` seconds it counts
        as hung (default: the monitor's `job_timeout`; 0 or infinite: never), and after
        `hard_timeout` the alert is CRITICAL.
        """
        run = self._begin(queue, name, id, options)
        run.note_place(1, is_part=True)
        return run

    def current(self) -> MonitoredRun | None:
        """Return the run of this thread or task that began last and has not ended; None: none."""
        run = _current.get()
        return None if run is None or run.has_ended else run

    def loop(self, *, is_ready: bool = True) -> None:
        """Say that the program's main loop moves. Call this at each turn, also while idle.

        `is_ready`: False while the program still starts, and cannot take jobs yet.
        """
        if self._is_child:
            self.become_child()
        self._state.loop_at = time.monotonic()
        self._state.is_ready = self._state.is_ready or is_ready

    def blocked(self, reason: str, *, is_disconnected: bool = True) -> None:
        """Say why the program cannot take jobs, until `ready`: a WARNING.

        Until then its main loop is not judged: frameworks connect again in loops of their own.

        `is_disconnected`: because it cannot use its queue server.
        """
        self._state.is_disconnected, self._state.blocked_by = is_disconnected, reason

    def paused(self, reason: str) -> None:
        """Say why the program takes no jobs on purpose, until `ready`. This is no problem.

        Until then its main loop is not judged.
        """
        self._state.paused_by = reason

    def ready(self) -> None:
        """Say that the program takes jobs."""
        self.loop()
        self._state.blocked_by = self._state.paused_by = ""

    def status(self, text: str) -> None:
        """Say in a few words what the program does; cut to 200 characters."""
        self._state.status = cut_note(text)

    def ignored(self, reason: str) -> None:
        """Count and log a message that the program could not use."""
        self._state.ignored_values = (self._state.ignored_values or 0) + 1
        now = time.monotonic()
        if self._beat is not None and now >= self._next_ignored:
            self._next_ignored = now + IGNORED_INTERVAL
            self._beat.log.warning(
                "ignored {ignored} messages since the start, the last one because {reason}",
                ignored=self._state.ignored_values,
                reason=reason,
            )

    def stopping(self, reason: str, timeout: float | None = None) -> None:
        """Say that the program stops after its jobs. 10 s after `timeout` (seconds) it is hung.

        From now on its main loop is not judged: it may wait there for its jobs.
        """
        self._state.stop_reason, self._state.is_stopping = reason, True
        if (limit := finite(timeout)) is not None:
            self._state.shutdown_deadline = time.monotonic() + limit

    def stop(self, reason: str = "", *, failure: str = "") -> None:
        """Send what is left, and end the beat. This may take a few seconds.

        The worker has ended, and that is no problem: its record is removed, but an expected worker
        must be started again in time. `failure` says why the program ends with an error: then the
        record stays, and the worker counts as dead.
        """
        with self._lock:
            beat, self._beat = self._beat, None
        if beat is None:
            return
        ordered = self._commands.stop_reason if self._commands else ""
        self.stopping(ordered or reason or self._state.stop_reason)
        beat.end(Ending(True, self._state.stop_reason, bool(ordered)), failure)
        for slots in (self._slots, self._own_slot):
            if slots is not None:
                slots.close()
        self._slots = self._own_slot = None

    def become_child(self, slot: int | None = None, *, max_idle: float = 0.0) -> None:
        """Watch this forked process as a worker of its own, `HOST.NAME-SLOT`.

        The first call of `job`, `begin`, `loop` or `ready` in a child does this by itself. `slot`
        is a number from 1 that no living child has; None: the lowest such number. The loop of a
        child is not judged, unless `max_idle` (seconds) is given. Does nothing in a process that
        is no child, or is watched already.
        """
        with self._lock:
            was_child, self._is_child = self._is_child, False
            if not was_child:
                return
            try:
                number = ForkSlots.claim_from(self._slots, slot)
            except Exception as error:
                self._complain("a forked process", error)
                return
            # The child's own children have their own numbers.
            self._own_slot, self._slots = self._slots, None
            self._parent = self._settings.worker
            # The program's functions are for the parent.
            self._settings, self._functions = self._settings.for_child(number, max_idle, OWN), {}
        self.start()

    def child_ended(self, slot: int, pid: int, cause: str = "") -> None:
        """Say in the parent that a child has ended which could not say so itself.

        Its record is removed. `cause` says why, if nobody wanted that (`killed by signal 9`): then
        the record tells of it for some minutes. Not needed if another child takes its slot.
        """
        if self._ended_children is not None:
            worker = self._settings.for_child(slot, 0.0, ()).worker
            self._ended_children.add(EndedChild(worker, pid, cause))

    def before_fork(self) -> bool:
        """Wait until no lock is held that a child would inherit; False: that takes too long."""
        return self._beat is not None and self._beat.pause_for_fork()

    def after_fork(self) -> None:
        """Beat on, in the parent."""
        if self._beat is not None:
            self._beat.go_on()

    def after_fork_in_child(self) -> None:
        """Forget, in a child, what belongs to the parent: its thread, its locks, its jobs."""
        was_watched = self._beat is not None
        if self._own_slot is not None:
            self._own_slot.close()
            self._own_slot = None
        self._lock = threading.Lock()
        self._beat = self._commands = self._ended_children = None
        self._state, self._facts = ProgramState(), ProcessFacts()
        self._is_child = self._is_child or was_watched

    def _make_beat(self) -> BeatThread:
        settings = self._settings
        beat = BeatThread(
            settings, self._state, self._facts, self._output, self._restart, self._parent
        )
        self._commands = Commands(self._functions, settings.worker, beat.make_record, beat.log)
        inbox = CommandInbox(
            settings.worker,
            beat.instance,
            self._commands.handle,
            beat.errors,
            beat.log,
            secret=settings.secret,
        )
        if settings.reports.redis is not None:
            mailbox = RedisMailbox(beat.writer.execute, settings.worker, inbox)
            self._ended_children = EndedChildren(settings.reports.redis, settings.worker)
            beat.steps = [mailbox.tick, self._ended_children.tick]
        return beat

    def _complain(self, what: str, error: Exception) -> None:
        log = self._settings.make_log("", self._output)
        log.error("{what} is not watched: {reason}", what=what, reason=format_exception_line(error))

    def _restart(self, why: str) -> None:
        if self._commands is not None:
            self._commands.restart(why)

    def _begin(self, queue: str, name: str, job_id: int | str, options: RunOptions) -> MonitoredRun:
        if self._is_child:
            self.become_child()
        run = MonitoredRun(
            queue if queue in self._queues else remember(queue, self._queues),
            name if name in self._names else remember(name, self._names),
            job_id,
            self._on_end,
            options,
            server=self._settings.server,
            timeout=self._settings.job_timeout,
        )
        self._state.begin(run)
        _current.set(run)
        return run

    def _on_end(self, run: MonitoredRun, result: Run) -> None:
        is_ours = self._state.end(run, result, loop_has_moved=not self._settings.has_own_loop)
        beat = self._beat
        if is_ours and beat is not None:  # a forked child does not end the runs of its parent
            beat.on_finished(result)

    def _at_exit(self) -> None:
        error = getattr(sys, "last_value", None)  # the exception that ended the program, if one did
        failure = format_exception_line(error) if isinstance(error, Exception) else ""
        self.stop("its program has ended", failure=failure)


def remember(name: str, known: set[str]) -> str:
    """Add a name to those that are known and return it; OTHER if there are too many.

    A long name is cut, and what cannot be encoded is replaced: no reader takes a record with it.
    """
    name = name[:MAX_NAME].encode("utf-8", "replace").decode()
    if name in known:
        return name
    if len(known) >= MAX_NAMES:
        return OTHER
    known.add(name)
    return name
