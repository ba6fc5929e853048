"""Makes the parts of a worker process, connects them, runs them, and returns the exit code."""

import os
import secrets
import threading
from collections.abc import Sequence
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.store.heartbeats import Heartbeat
from beanwatch.telemetry.logging import setup as logs
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.api.app import App
from beanwatch.worker.api.resource import Resources
from beanwatch.worker.control.command_handler import CommandHandler
from beanwatch.worker.control.listener import Listener
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.decide import format_exception_line, jitter_limit
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.internal_errors import InternalErrors
from beanwatch.worker.core.loop import Loop
from beanwatch.worker.core.record import Sink, Sinks
from beanwatch.worker.core.run import Limits, Runner
from beanwatch.worker.core.settings import Settings
from beanwatch.worker.core.signals import handle_signals, ignore_signals
from beanwatch.worker.core.start import prepare_start
from beanwatch.worker.core.state import FATAL, WorkerState
from beanwatch.worker.core.wake import Wake
from beanwatch.worker.guard.guard import Guard
from beanwatch.worker.guard.host import TemporaryRoot
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.guard.pulse import Pulse
from beanwatch.worker.telemetry.gauges import WorkerGauges
from beanwatch.worker.telemetry.heartbeat_record import HeartbeatRecord
from beanwatch.worker.telemetry.heartbeat_reporter import HeartbeatReporter
from beanwatch.worker.telemetry.heartbeat_writer import HeartbeatWriter, NoHeartbeatWriter
from beanwatch.worker.telemetry.host_watch import HostLimits, HostWatch
from beanwatch.worker.telemetry.ledger_writer import LedgerWriter
from beanwatch.worker.telemetry.log_sink import LogSink
from beanwatch.worker.telemetry.metrics import Metrics, SeriesOwner, make_metrics
from beanwatch.worker.telemetry.outcome_counter import OutcomeCounter
from beanwatch.worker.telemetry.redis_stream import RedisStream
from beanwatch.worker.telemetry.reporter import Reporter
from beanwatch.worker.telemetry.systemd_status import SystemdStatus

SINK_CLOSE_TIMEOUT = 2.0  # seconds per sink
PULSE_END_TIMEOUT = 2.0  # seconds
EXIT_TIMEOUT = 3.0  # seconds for Python to shut down


class Telemetry(NamedTuple):
    """Holds the objects through which a worker reports: log, heartbeat, metrics, other sinks."""

    log: FilteringBoundLogger
    heartbeat_writer: HeartbeatWriter
    metrics: Metrics
    sinks: Sequence[Sink]


def run_worker(app: App, settings: Settings, log_output: LogOutput) -> int:
    """Run a worker until it is stopped, and return the exit code (docs/reference.md).

    Raises WorkerError if it cannot start, and ValueError for a wrong URL.
    """
    instance = secrets.token_hex(8)
    telemetry = make_telemetry(settings, instance, log_output)
    temporary = TemporaryRoot(settings.options.tmp_root, settings.worker, instance)
    identity, black_box = prepare_start(
        telemetry.heartbeat_writer, temporary, settings, instance, app.version, telemetry.log
    )
    return Process(app, settings, identity, telemetry, JobGuards(black_box, temporary)).run()


def make_telemetry(settings: Settings, instance: str, log_output: LogOutput) -> Telemetry:
    """Make the log, the heartbeat writer and the sinks. Raises ValueError for a wrong URL."""
    worker = settings.worker
    log = logs.get_logger(worker=worker, instance=instance)
    metrics = make_metrics(
        settings.options.metrics,
        SeriesOwner(settings.prefix, settings.server_node, worker),
        per_worker=settings.options.metrics_per_worker,
        log=log,
    )
    sinks: list[Sink] = [LogSink(log, log_output), metrics]
    if not settings.redis_url:
        log.warning(
            "Redis is off (redis.url is empty): this worker sends no heartbeats and records no runs"
        )
        return Telemetry(log, NoHeartbeatWriter(), metrics, sinks)
    redis = parse_redis_url(settings.redis_url, settings.redis_password)
    stream = RedisStream(redis, log)
    ledger = LedgerWriter(stream, worker, instance, settings.options.ledger)
    sinks += [OutcomeCounter(stream), ledger]
    heartbeat_writer = HeartbeatWriter(redis, worker, is_expected=settings.is_expected)
    return Telemetry(log, heartbeat_writer, metrics, sinks)


class Process:
    """Runs one worker process. The constructor makes its parts and connects them."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        identity: Heartbeat,
        telemetry: Telemetry,
        guards: JobGuards,
    ) -> None:
        options, log = settings.options, telemetry.log
        self._settings, self._guards, self._log = settings, guards, log
        self._state = state = WorkerState(options.shutdown_timeout)
        self._errors = errors = InternalErrors(state, log)
        self._sinks = sinks = Sinks(telemetry.sinks, errors)
        self._connection = connection = WorkerConnection(
            settings.address, settings.queues, options.reserve_timeout
        )
        self._notifier = notifier = SystemdNotifier()
        wake = Wake()
        limits = Limits(options.job_timeout, options.grace, options.max_attempts)
        resources = Resources(app.resources, errors)
        self._runner = runner = Runner(app, limits, connection, guards, resources, errors, log)
        finisher = Finisher(connection, sinks, state)
        host_limits = HostLimits(
            options.min_free_disk,
            jitter_limit(options.max_memory),
            jitter_limit(options.max_time),
        )
        host = HostWatch(state, connection, guards.temporary, host_limits, log)
        record = HeartbeatRecord(identity, state, host, runner.current_line)
        heartbeats = HeartbeatReporter(
            telemetry.heartbeat_writer,
            record,
            state,
            connection,
            log,
            restart_spread=options.restart_spread,
        )
        self._reporter = reporter = Reporter(
            host,
            record,
            heartbeats,
            WorkerGauges(telemetry.metrics, state, host),
            SystemdStatus(notifier, settings.worker),
            [sinks],
        )
        commands = CommandHandler(settings.worker, state, connection, wake, reporter, log)
        guard = Guard(connection, runner, finisher, state, guards, self._report_exit, log)
        self._listener = listener = Listener(
            self._control_address,
            settings.worker,
            identity.instance,
            commands.handle,
            errors,
            log,
        )
        self._pulse = pulse = Pulse(
            [guard.tick, commands.tick, reporter.tick],
            listener,
            state,
            wake,
            errors,
            log,
            tick=options.heartbeat_interval,
        )
        keep_signals = handle_signals(state, guards.alarm, commands, logs.reopen, log)
        self._loop = Loop(
            connection,
            runner,
            finisher,
            state,
            pulse,
            keep_signals,
            log,
            max_jobs=round(jitter_limit(options.max_jobs)),
        )

    def run(self) -> int:
        """Run jobs until the worker is stopped, and return the exit code."""
        # Close both connections in forked children: otherwise the connection outlives a killed
        # worker, and the child could write into it.
        for connection in (self._connection, self._listener):
            os.register_at_fork(after_in_child=connection.close)
        self._log.info("the worker starts", queues=self._settings.queues, pid=os.getpid())
        # Write a heartbeat and check the disk before the first job, which may kill the process.
        self._reporter.begin()
        self._pulse.start()
        self._notifier.send("READY=1")
        exit_reason = ""
        try:
            self._loop.run()
        except Exception as error:
            self._log.critical("the main loop failed, so the worker exits", exc_info=error)
            exit_reason = f"internal error: {format_exception_line(error)}"
            self._state.stop(exit_reason, FATAL)
        self._close(exit_reason)
        return self._state.exit_code

    def _close(self, exit_reason: str) -> None:
        state = self._state
        self._notifier.send("STOPPING=1")
        state.start_shutdown_timer()  # if a step below hangs, the pulse ends the process
        self._runner.close()
        pulse_has_ended = self._pulse.end(PULSE_END_TIMEOUT)
        self._guards.watchdog.tick(0.0)  # from here on, the watchdog ends it
        self._log.info(
            "the worker ends: {reason}",
            reason=state.stop_reason,
            exit_code=state.exit_code,
            processed=state.processed,
            failed=state.failed,
        )
        if not pulse_has_ended:
            # It still uses the sinks and the heartbeat's connection, so nobody else may.
            self._log.warning(
                f"the pulse thread did not end within {PULSE_END_TIMEOUT:g} s, so the worker exits "
                "without sending its last metrics and its last heartbeat"
            )
            self._guards.black_box.write_exit(exit_reason)
        elif self._report_exit(exit_reason):
            self._guards.temporary.close()
        self._guards.watchdog.disarm()
        ignore_signals()
        # Python waits for threads that a handler left running. After EXIT_TIMEOUT, exit anyway.
        exit_timer = threading.Timer(EXIT_TIMEOUT, os._exit, (state.exit_code,))
        exit_timer.daemon = True
        exit_timer.start()

    def _report_exit(self, exit_reason: str) -> bool:
        """Close the sinks and write the last heartbeat with `exit_reason` ("": stopped on request).

        Returns False if Redis did not take the heartbeat. Then the reason is written to the black
        box, where the next instance finds it.
        """
        self._sinks.close(SINK_CLOSE_TIMEOUT)
        try:
            is_written = self._reporter.report_exit(exit_reason)
        except Exception as error:
            self._errors.report("the last heartbeat", error)
            is_written = False
        if not is_written:
            self._guards.black_box.write_exit(exit_reason)
        return is_written

    def _control_address(self) -> Address | None:
        """Return the address for the control connection; None before the first connect.

        It is the address that the main connection found, so that the pulse thread needs no name
        lookup, which could block it.
        """
        peer = self._connection.peer
        if isinstance(peer, tuple):
            return Address(peer[0], peer[1])
        return self._settings.address if peer is not None else None
