"""Beat: the thread of a watched program that beats, and sends metrics, log and ledger."""

import contextlib
import secrets
import threading
import time

from beanwatch.net.redis_url import RedisError
from beanwatch.store.heartbeats import NO_HEARTBEAT, Heartbeat
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.monitor.heartbeat_record import HeartbeatRecord
from beanwatch.worker.monitor.heartbeat_reporter import Ending, HeartbeatReporter
from beanwatch.worker.monitor.host import read_rss
from beanwatch.worker.monitor.internal_errors import InternalErrors
from beanwatch.worker.monitor.previous import (
    IdInUseError,
    describe_end,
    find_previous,
    identify,
    inherit,
)
from beanwatch.worker.monitor.runs import Run, Sinks
from beanwatch.worker.monitor.settings import MonitorSettings
from beanwatch.worker.monitor.state import ProgramState

TRY_AGAIN = 10.0  # seconds after which an id that was in use is tried again
SINK_CLOSE_TIMEOUT = 2.0  # seconds per sink
END_TIMEOUT = 3.0  # seconds for the thread to end


class ProcessFacts:
    """What is measured of this process at each beat."""

    rss: int | None = None
    disk_free: int | None = None


class Beat(threading.Thread):
    """Beats for this process, from the first answer of Redis on, until `end` is called.

    Whatever fails here is logged and counted. The program goes on.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        state: ProgramState,
        output: LogOutput,
        child_of: str = "",
    ) -> None:
        super().__init__(name="beanwatch-monitor", daemon=True)
        self._settings, self._state, self._child_of = settings, state, child_of
        self._instance = secrets.token_hex(8)
        self._reports = settings.make_reports(self._instance, output)
        self._log = self._reports.log
        self._errors = InternalErrors(state, self._log)
        self._sinks = Sinks(self._reports.sinks, self._errors)
        self._lock = threading.Lock()  # several threads end their runs
        self._facts = ProcessFacts()
        self._reporter: HeartbeatReporter | None = None  # None: this id is not ours yet
        self._try_at = 0.0
        self._has_told = False
        self._wake, self._is_ended = threading.Event(), False
        self._identity = self._describe(NO_HEARTBEAT)
        self._record = self._make_record(NO_HEARTBEAT)

    @property
    def problem(self) -> str:
        """Why this process does not beat; "" if it does, or has not tried yet."""
        return self._problem

    _problem = ""

    def on_finished(self, run: Run) -> None:
        """Pass a run to log, metrics and ledger. Any thread may call this."""
        with self._lock:
            self._sinks.on_finished(run)

    def make_record(self) -> Heartbeat:
        """Return the record of this moment."""
        return self._record.make()

    def run(self) -> None:
        """Beat until `end` is called."""
        while not self._is_ended:
            began = time.monotonic()
            self._errors.attempt(self._tick, began)
            self._wake.wait(max(0.05, self._settings.interval - (time.monotonic() - began)))

    def end(self, ending: Ending, failure: str = "") -> None:
        """Stop beating, send the rest, and write the last record. Takes a few seconds at most."""
        self._is_ended = True
        self._wake.set()
        with contextlib.suppress(RuntimeError):  # it never started, or this is the thread
            self.join(END_TIMEOUT)
        if self.is_alive():
            return  # it still uses the sinks and the connection to Redis
        self._sinks.close(SINK_CLOSE_TIMEOUT)
        if self._reporter is not None:
            self._errors.attempt(self._reporter.report_exit, failure, ending)

    def _tick(self, now: float) -> None:
        self._facts.rss = read_rss()
        if self._reporter is None and now >= self._try_at:
            self._errors.attempt(self._take_id, now)
        if self._reporter is not None:
            self._errors.attempt(self._reporter.write, self._record.make())
        self._sinks.tick()

    def _take_id(self, now: float) -> None:
        """Look for an earlier process with this id, and begin to beat if none is alive."""
        writer = self._reports.heartbeat_writer
        try:
            writer.forget_expired()
            previous = find_previous(
                writer, self._settings.worker, self._instance, sleep=self._sleep
            )
        except IdInUseError as error:
            self._give_up(str(error))
            self._try_at = now + TRY_AGAIN
            return
        except RedisError as error:
            if not self._has_told:
                self._has_told = True
                self._log.warning(
                    "no heartbeat yet, Redis cannot be used: {reason}", reason=str(error)
                )
            return
        if self._is_ended:
            return
        self._begin(previous)

    def _begin(self, previous: Heartbeat | None) -> None:
        self._problem, self._has_told = "", False
        inherited = NO_HEARTBEAT
        if previous is not None and previous.instance != self._instance:
            crash = previous.last_words
            if not crash and not previous.is_over:
                crash = describe_end(previous)
            if crash:
                self._log.warning("the previous instance ended unexpectedly: {exit}", exit=crash)
            inherited = inherit(previous, crash, time.time())
        self._record = self._make_record(inherited)
        self._reporter = HeartbeatReporter(
            self._reports.heartbeat_writer,
            self._record,
            self._log,
            on_duplicate=self._give_up,
            restart=lambda why: self._log.warning("{why}: this program cannot obey", why=why),
        )

    def _give_up(self, why: str) -> None:
        """Beat no more, because another process has this id."""
        if self._problem != why:
            self._log.error("this process is not watched: {reason}", reason=why)
        self._problem, self._reporter = why, None
        self._try_at = time.monotonic() + TRY_AGAIN

    def _make_record(self, inherited: Heartbeat) -> HeartbeatRecord:
        counter = self._reports.counter
        return HeartbeatRecord(self._describe(inherited), self._state, self._facts, counter)

    def _describe(self, inherited: Heartbeat) -> Heartbeat:
        settings = self._settings
        return identify(
            inherited, settings.host, settings.name, self._instance, time.time()
        )._replace(
            kind=settings.kind,
            server=settings.server,
            queues=settings.queues,
            child_of=self._child_of,
            interval=settings.interval,
            max_idle=settings.max_idle,
            has_own_loop=settings.has_own_loop,
            app_version=settings.app_version,
        )

    def _sleep(self, seconds: float) -> None:
        self._wake.wait(seconds)
