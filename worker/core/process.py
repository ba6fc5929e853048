"""One worker process, from its start to its exit code: the parts, put together."""

import os
import secrets
import threading
from collections.abc import Sequence
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.net.redis_link import parse_redis_url
from beanwatch.net.systemd import Notifier
from beanwatch.store.heartbeats import Beat
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.api.app import App
from beanwatch.worker.api.resource import Resources
from beanwatch.worker.control.listener import Listener
from beanwatch.worker.control.orders import Orders
from beanwatch.worker.core.connection import Session
from beanwatch.worker.core.decide import describe, with_share
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.loop import Loop
from beanwatch.worker.core.record import Sink
from beanwatch.worker.core.run import Limits, Runner
from beanwatch.worker.core.settings import Settings
from beanwatch.worker.core.signals import handle_signals, ignore_signals
from beanwatch.worker.core.start import begin
from beanwatch.worker.core.state import FATAL, Life
from beanwatch.worker.core.wake import Wake
from beanwatch.worker.guard.guard import Guard
from beanwatch.worker.guard.host import TemporaryRoot
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.guard.pulse import Pulse
from beanwatch.worker.telemetry import logs
from beanwatch.worker.telemetry.heartbeat_writer import Heart
from beanwatch.worker.telemetry.ledger_writer import Ledger
from beanwatch.worker.telemetry.logs import LogSink
from beanwatch.worker.telemetry.metrics import Metrics, make_metrics
from beanwatch.worker.telemetry.outcome_counter import OutcomeCounts
from beanwatch.worker.telemetry.redis_stream import RedisOutlet
from beanwatch.worker.telemetry.reporter import Reporter

FLUSH = 2.0  # seconds for each sink at the end
LEAVE = 3.0  # seconds for Python to shut down


class Telemetry(NamedTuple):
    """What the worker reports to."""

    log: FilteringBoundLogger
    heart: Heart
    metrics: Metrics
    ledger: Ledger
    sinks: Sequence[Sink]


def run_worker(app: App, settings: Settings, log_output: LogOutput) -> int:
    """Work until told to stop; the exit code.

    Raises WorkerError when it cannot start, and ValueError for a URL.
    """
    instance = secrets.token_hex(8)
    telemetry = make_telemetry(settings, instance, log_output)
    temporary = TemporaryRoot(settings.options.tmp_root, settings.worker, instance)
    identity, black_box = begin(
        telemetry.heart, temporary, settings, instance, app.version, telemetry.log
    )
    return Process(app, settings, identity, telemetry, JobGuards(black_box, temporary)).run()


def make_telemetry(settings: Settings, instance: str, log_output: LogOutput) -> Telemetry:
    """Whatever the settings name. Raises ValueError for a URL."""
    worker = settings.worker
    log = logs.get_logger(worker=worker, instance=instance)
    redis = parse_redis_url(settings.redis_url, settings.redis_password)
    metrics = make_metrics(settings.options.metrics, settings.prefix, worker, log=log)
    outlet = RedisOutlet(redis, log)
    ledger = Ledger(outlet, worker, instance, settings.options.ledger)
    sinks: list[Sink] = [LogSink(log, log_output), metrics, OutcomeCounts(outlet), ledger]
    heart = Heart(redis, worker, is_expected=settings.is_expected)
    return Telemetry(log, heart, metrics, ledger, sinks)


class Process:
    """The parts of one worker."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        identity: Beat,
        telemetry: Telemetry,
        guards: JobGuards,
    ) -> None:
        options, log = settings.options, telemetry.log
        self._settings, self._sinks, self._log = settings, telemetry.sinks, log
        self._guards = guards
        self._life = life = Life(options.shutdown_timeout)
        self._session = session = Session(
            settings.address, settings.queues, options.reserve_timeout
        )
        self._notifier = notifier = Notifier()
        wake = Wake()
        limits = Limits(options.job_timeout, options.grace, options.max_attempts)
        resources = Resources(app.resources, log)
        self._runner = runner = Runner(app, limits, session, guards, resources, log)
        finisher = Finisher(session, telemetry.ledger.intend, telemetry.sinks, life)
        self._reporter = reporter = Reporter(
            identity,
            settings.worker,
            life,
            session,
            telemetry.heart,
            telemetry.metrics,
            telemetry.sinks,
            notifier,
            guards.temporary,
            runner.where,
            log,
            min_free_disk=options.min_free_disk,
            max_memory=with_share(options.max_memory),
            max_time=with_share(options.max_time),
            restart_spread=options.restart_spread,
        )
        orders = Orders(settings.worker, life, session, wake, reporter, log)
        guard = Guard(session, runner, finisher, life, guards, self._last_words, log)
        self._listener = listener = Listener(
            self._control_address, settings.worker, identity.instance, orders.obey, log
        )
        self._pulse = pulse = Pulse(
            [guard.tick, orders.tick, reporter.tick],
            listener,
            life,
            wake,
            log,
            tick=options.heartbeat_interval,
        )
        keep_signals = handle_signals(life, guards.alarm, orders, logs.reopen, log)
        self._loop = Loop(
            session,
            runner,
            finisher,
            life,
            pulse,
            keep_signals,
            log,
            max_jobs=round(with_share(options.max_jobs)),
        )

    def run(self) -> int:
        """Work until told to stop; the exit code."""
        # In a child that a handler forks: else beanstalkd would wait for it when we are killed,
        # and what it puts would come in between of what we say.
        for connection in (self._session, self._listener):
            os.register_at_fork(after_in_child=connection.close)
        self._log.info("the worker starts", queues=self._settings.queues, pid=os.getpid())
        # Before the first job, which may be the last thing that runs here: a beat, and a look
        # whether the disk is full.
        self._reporter.begin()
        self._pulse.start()
        self._notifier.send("READY=1")
        words = ""
        try:
            self._loop.run()
        except Exception as error:
            self._log.critical("the worker failed", exc_info=error)
            words = f"failed: {describe(error)}"
            self._life.stop(words, FATAL)
        self._close(words)
        return self._life.code

    def _close(self, words: str) -> None:
        life = self._life
        self._notifier.send("STOPPING=1")
        life.lose_patience()  # the pulse ends us if something does not close
        self._runner.close()
        self._pulse.end(FLUSH)
        self._guards.watchdog.disarm()
        self._log.info(
            "the worker ends: {reason}",
            reason=life.why,
            exit_code=life.code,
            processed=life.processed,
            failed=life.failed,
        )
        if self._last_words(words):
            self._guards.temporary.close()
        ignore_signals()
        # Python waits for threads that a handler left behind; we do not.
        leave = threading.Timer(LEAVE, os._exit, (life.code,))
        leave.daemon = True
        leave.start()

    def _last_words(self, words: str) -> bool:
        for sink in self._sinks:
            sink.close(FLUSH)
        is_heard = self._reporter.last_words(words)
        if not is_heard:
            self._guards.black_box.end(words)  # for the next instance, which finds it
        return is_heard

    def _control_address(self) -> Address | None:
        """Where the main connection went, so that the pulse looks no name up."""
        peer = self._session.peer
        if isinstance(peer, tuple):
            return Address(peer[0], peer[1])
        return self._settings.address if peer is not None else None
