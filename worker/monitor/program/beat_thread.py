"""BeatThread: the thread of a watched program that beats, and sends metrics, log and ledger."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import RedisError
from beanwatch.store.heartbeats import NO_HEARTBEAT, Heartbeat
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.monitor.facts import ProcessFacts
from beanwatch.worker.monitor.heartbeat.heartbeat_record import HeartbeatRecord
from beanwatch.worker.monitor.heartbeat.heartbeat_reporter import Ending, HeartbeatReporter
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import HeartbeatWriter
from beanwatch.worker.monitor.heartbeat.previous import (
    IdInUseError,
    describe_end,
    find_previous,
    identify,
    inherit,
)
from beanwatch.worker.monitor.internal_errors import InternalErrors
from beanwatch.worker.monitor.program.green import find_green_library
from beanwatch.worker.monitor.program.settings import MonitorSettings
from beanwatch.worker.monitor.program.state import ProgramState
from beanwatch.worker.monitor.runs import Run, Sinks
from beanwatch.worker.monitor.sinks.gauges import ProcessGauges

TRY_AGAIN = 10.0  # seconds after which an id that was in use is tried again
SINK_CLOSE_TIMEOUT = 2.0  # seconds per sink
END_TIMEOUT = 3.0  # seconds for the thread to end
FIRST_BEAT_TIMEOUT = 3.0  # seconds that a process which fails at once waits for its first beat
MIN_WAIT = 0.05  # seconds between two beats, however long they take
FORK_TIMEOUT = 0.1  # seconds that a fork waits for a beat to end; a silent Redis takes a second

Step = Callable[[float], object]


class BeatThread(threading.Thread):
    """Beats for this process, from the first answer of Redis on, until `end` is called.

    It beats only while no other process has this worker's id. Whatever fails here is logged and
    counted. `restart` is called with the reason if all workers are told to restart.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        state: ProgramState,
        facts: ProcessFacts,
        output: LogOutput,
        restart: Callable[[str], object],
        child_of: str = "",
    ) -> None:
        super().__init__(name="beanwatch-monitor", daemon=True)
        self._settings, self._state, self._child_of = settings, state, child_of
        self._facts = facts
        self._restart = restart
        self.instance = secrets.token_hex(8)
        self._started_at = time.time()
        self._reports = settings.make_reports(self.instance, output)
        self.errors = InternalErrors(state, self.log)
        self.problem = ""  # why this process does not beat: another one has its id
        self.steps: Sequence[Step] = ()  # called after each heartbeat, with the monotonic time
        self._sinks = Sinks(self._reports.sinks, self.errors)
        self._sink_lock = threading.Lock()  # several threads end their runs
        self._beat_lock = threading.Lock()  # held except while the thread waits
        self._gauges = ProcessGauges(self._reports.metrics, state, facts)
        self._record = self._make_record(NO_HEARTBEAT)
        self._reporter: HeartbeatReporter | None = None  # None: the id is not ours yet
        self._try_at = 0.0
        self._redis_is_away = False
        self._wake, self._is_ended = threading.Event(), False
        self._has_begun = threading.Event()  # or it is known that no beat can be sent

    @property
    def log(self) -> FilteringBoundLogger:
        """The log of this process."""
        return self._reports.log

    @property
    def writer(self) -> HeartbeatWriter:
        """Reads and writes the heartbeat in Redis; only this thread may use it."""
        return self._reports.heartbeat_writer

    def on_finished(self, run: Run) -> None:
        """Pass a run to log, metrics and ledger. Any thread may call this."""
        with self._sink_lock:
            self._sinks.on_finished(run)

    def make_record(self) -> Heartbeat:
        """Return the record of this moment."""
        return self._record.make()

    def run(self) -> None:
        """Beat until `end` is called."""
        if library := find_green_library():
            self.log.warning(
                "{library} has replaced Python's threads: while a job computes or blocks, this "
                "process cannot beat, and counts as stopped or stuck",
                library=library,
            )
        self._beat_lock.acquire()
        while not self._is_ended:
            began = time.monotonic()
            self.errors.attempt(self._tick, began)
            self._sleep(max(MIN_WAIT, began + self._settings.interval - time.monotonic()))

    def end(self, ending: Ending, failure: str = "") -> None:
        """Stop beating, send the rest, and write the last record. Takes a few seconds at most."""
        if failure and not self.problem:
            self._has_begun.wait(FIRST_BEAT_TIMEOUT)  # else the failure could not be told
        self._is_ended = True
        self._wake.set()
        self.join(END_TIMEOUT)
        if self.is_alive():
            return  # it still uses the sinks and the connection to Redis
        self._sinks.close(SINK_CLOSE_TIMEOUT)
        if self._reporter is not None:
            self.errors.attempt(self._reporter.report_exit, failure, ending)
        self.errors.attempt(self.writer.close)

    def pause_for_fork(self) -> bool:
        """Wait until this thread waits: a child should not inherit locks that it holds.

        Return False if that takes too long: RQ forks for each job. If not, `go_on` must follow.
        """
        return self._beat_lock.acquire(timeout=FORK_TIMEOUT)

    def go_on(self) -> None:
        """Let the thread beat again, in the parent process."""
        self._beat_lock.release()

    def _tick(self, now: float) -> None:
        self._facts.measure()
        state = self._state
        if state.blocked_by or state.paused_by or state.is_stopping:
            state.loop_at = now  # the program has said why its loop stands still
        if self._reporter is None and now >= self._try_at:
            self._take_id(now)
        if self._reporter is not None:
            self.errors.attempt(self._reporter.write, self._record.make())
            self._has_begun.set()
            for step in self.steps:
                self.errors.attempt(step, now)
        self._sinks.tick()
        self._gauges.tick(now)

    def _take_id(self, now: float) -> None:
        """Look for an earlier process with this id, and begin to beat if none is alive."""
        try:
            self.writer.forget_expired()
            previous = find_previous(
                self.writer, self._settings.worker, self.instance, sleep=self._sleep
            )
        except IdInUseError as error:
            self._give_up(str(error))
        except RedisError as error:
            if not self._redis_is_away:
                self.log.warning(
                    "no heartbeats yet, Redis cannot be used: {reason}", reason=str(error)
                )
            self._redis_is_away = True
            self._has_begun.set()
        else:
            if not self._is_ended:
                self._begin(previous)

    def _begin(self, previous: Heartbeat | None) -> None:
        self.problem, self._redis_is_away = "", False
        inherited = NO_HEARTBEAT
        if previous is not None and previous.instance != self.instance:
            crash = previous.last_words
            if not crash and not previous.is_over:
                crash = describe_end(previous)
            if crash:
                self.log.warning("the previous instance ended unexpectedly: {exit}", exit=crash)
            inherited = inherit(previous, crash, time.time())
        self._record = self._make_record(inherited)
        self._reporter = HeartbeatReporter(
            self.writer, self._record, self.log, on_duplicate=self._give_up, restart=self._restart
        )

    def _give_up(self, why: str) -> None:
        """Beat no more, because another process has this id; try again later."""
        if self.problem != why:
            self.log.error("this process is not watched: {reason}", reason=why)
        self.problem, self._reporter = why, None
        self._has_begun.set()
        self._try_at = time.monotonic() + TRY_AGAIN

    def _make_record(self, inherited: Heartbeat) -> HeartbeatRecord:
        settings = self._settings
        who = identify(inherited, settings.host, settings.name, self.instance, self._started_at)
        identity = who._replace(
            kind=settings.kind,
            server=settings.server,
            queues=settings.queues,
            child_of=self._child_of,
            commands=settings.commands,
            commands_by="redis" if settings.commands else "",
            interval=settings.interval,
            max_idle=settings.max_idle,
            has_own_loop=settings.has_own_loop,
            app_version=settings.app_version,
        )
        return HeartbeatRecord(identity, self._state, self._facts, self._reports.counter)

    def _sleep(self, seconds: float) -> None:
        """Wait; meanwhile, this process may fork."""
        self._beat_lock.release()
        try:
            self._wake.wait(seconds)
        finally:
            self._beat_lock.acquire()
