"""Makes the parts of a worker process, connects them, runs them, and returns the exit code."""

import os
import secrets
import threading
import time

from beanwatch.net.address import Address
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.store.heartbeats import Heartbeat
from beanwatch.telemetry.logging import setup as logs
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.api.app import App
from beanwatch.worker.api.errors import WorkerError
from beanwatch.worker.api.resource import Resources
from beanwatch.worker.control.command_handler import CommandHandler
from beanwatch.worker.control.listener import Listener
from beanwatch.worker.control.restart_check import RestartCheck, find_directory
from beanwatch.worker.control.restarter import Restarter
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.decide import jitter_limit
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.ignored_values import IgnoredValues
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.limits import Limits
from beanwatch.worker.core.loop import Loop
from beanwatch.worker.core.run import Runner
from beanwatch.worker.core.settings import Settings, make_report_settings
from beanwatch.worker.core.signals import handle_signals, ignore_signals
from beanwatch.worker.core.start import (
    UNCOUNTED_STARTS,
    decide_start_delay,
    prepare_start,
    report_failed_start,
)
from beanwatch.worker.core.state import DUPLICATE, FATAL, NO_APP, USAGE, WorkerState
from beanwatch.worker.core.wake import Wake
from beanwatch.worker.guard.guard import Guard
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.guard.pulse import Pulse
from beanwatch.worker.guard.temporary import TemporaryRoot
from beanwatch.worker.monitor.exceptions import format_exception_line
from beanwatch.worker.monitor.heartbeat.heartbeat_record import HeartbeatRecord
from beanwatch.worker.monitor.heartbeat.heartbeat_reporter import HeartbeatReporter
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import HeartbeatWriter
from beanwatch.worker.monitor.host import kill_descendants
from beanwatch.worker.monitor.internal_errors import InternalErrors
from beanwatch.worker.monitor.reports import Reports, make_reports
from beanwatch.worker.monitor.runs import Sinks
from beanwatch.worker.monitor.sinks.gauges import ProcessGauges
from beanwatch.worker.serve.metrics_page import MetricsPage
from beanwatch.worker.serve.pages import WorkerPages, listen
from beanwatch.worker.serve.status import StatusMaker
from beanwatch.worker.telemetry.host_watch import HostLimits, HostWatch, stop_once
from beanwatch.worker.telemetry.reporter import Reporter
from beanwatch.worker.telemetry.run_starts import RunStarts
from beanwatch.worker.telemetry.systemd_status import SystemdStatus

SINK_CLOSE_TIMEOUT = 2.0  # seconds per sink
PULSE_END_TIMEOUT = 2.0  # seconds
CLOSE_TIMEOUT = 55.0  # seconds for the last reports, after which the watchdog ends the process
EXIT_TIMEOUT = 3.0  # seconds for Python to shut down


def run_worker(app: App, settings: Settings, log_output: LogOutput) -> int:
    """Run a worker until it is stopped, and return the exit code (docs/reference.md).

    Raises WorkerError if it cannot start, and ValueError for a wrong URL.
    """
    instance = secrets.token_hex(8)
    log = logs.get_logger(worker=settings.worker, instance=instance)
    telemetry = make_reports(make_report_settings(settings), instance, log, log_output)
    starts = RunStarts(telemetry.settings.redis, log, clock=telemetry.heartbeat_writer.time)
    pages = WorkerPages()
    server = listen(settings.listen, pages, telemetry.log) if settings.listen else None
    try:
        temporary = TemporaryRoot(settings.options.tmp_root, settings.worker, instance)
    except OSError:  # for example in a container whose root is read-only
        raise WorkerError(
            "no directory for temporary files can be written: mount one on /tmp, or name another "
            "with --tmp-root"
        ) from None
    start = prepare_start(
        telemetry.heartbeat_writer,
        starts,
        temporary,
        settings,
        instance,
        app.version,
        telemetry.log,
    )
    for previous, run in start.killed_runs:
        telemetry.record_killed_run(previous, run)
    guards = JobGuards(start.black_box, temporary)
    guards.watchdog.start()
    process = Process(app, settings, start.identity, telemetry, starts, guards)
    if server is not None:
        guards.descriptors.watch([server.fileno()])
        pages.show(process.status.make, process.metrics.make)
    return process.run()


def run_failed_start(settings: Settings, reason: str) -> int:
    """Report that the application cannot be imported, wait a while, and return the exit code.

    The wait grows with each failed start, so that a supervisor which restarts the worker at once
    does not use up a processor. Raises WorkerError if another instance uses the worker's id.
    """
    instance = secrets.token_hex(8)
    log = logs.get_logger(worker=settings.worker, instance=instance)
    log.critical("the worker cannot start: {reason}", reason=reason)
    failed = UNCOUNTED_STARTS
    if settings.redis_url:
        url = parse_redis_url(settings.redis_url, settings.redis_password)
        writer = HeartbeatWriter(url, settings.worker, is_expected=settings.is_expected)
        failed = report_failed_start(writer, settings, instance, reason, log)
    time.sleep(decide_start_delay(failed))
    return NO_APP


class Process:
    """Runs one worker process. The constructor makes its parts and connects them.

    `status` and `metrics` are what others may ask it for, in any thread.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        identity: Heartbeat,
        telemetry: Reports,
        starts: RunStarts,
        guards: JobGuards,
    ) -> None:
        options, log = settings.options, telemetry.log
        self._settings, self._guards, self._log = settings, guards, log
        self._log_output, self._leaving = telemetry.log_output, threading.Lock()
        self._log_losses = telemetry.log_losses
        self._state = state = WorkerState(options.shutdown_timeout)
        self._errors = errors = InternalErrors(state, log)
        self._sinks = sinks = Sinks(telemetry.sinks, errors)
        self._connection = connection = WorkerConnection(
            settings.address, settings.queues, options.reserve_timeout
        )
        self._notifier = notifier = SystemdNotifier()
        wake = Wake()
        guards.descriptors.watch((*state.wake.descriptors, *wake.descriptors))
        guards.descriptors.on_loss = self._leave_without_descriptors
        telemetry.log_output.on_closed = lambda: guards.descriptors.check(state.job)
        limits = Limits(options.job_timeout, options.grace, options.max_attempts)
        resources = Resources(app.resources, errors)
        ignored = IgnoredValues(state, log)
        self._runner = runner = Runner(
            *(app, limits, connection, guards, resources),
            starts=starts,
            ignored=ignored,
            errors=errors,
            log=log,
        )
        finisher = Finisher(connection, sinks, starts, state, guards.black_box)
        host_limits = HostLimits(
            options.min_free_disk,
            jitter_limit(options.max_memory),
            jitter_limit(options.max_time),
        )
        host = HostWatch(state, connection, guards.temporary, host_limits, log)
        record = HeartbeatRecord(identity, state, host, telemetry.counter)
        check = RestartCheck(settings.check_command, find_directory(), (USAGE, NO_APP))
        restarter = Restarter(check, state, connection, log)
        heartbeats = HeartbeatReporter(
            telemetry.heartbeat_writer,
            record,
            log,
            lambda why: stop_once(state, connection, why, DUPLICATE),
            restarter.restart,
            restart_spread=options.restart_spread,
        )
        self._reporter = reporter = Reporter(
            host,
            record,
            heartbeats,
            ProcessGauges(telemetry.metrics, state, host, state.counters, capacity=1.0),
            SystemdStatus(notifier, settings.worker),
            [sinks],
        )
        commands = CommandHandler(
            settings.worker,
            state,
            connection,
            wake,
            reporter,
            restarter,
            answer_later=lambda message, answer: self._listener.answer_later(message, answer),
            log=log,
        )
        self.status = StatusMaker(
            state, connection, options.reserve_timeout, guards.black_box.status
        )
        self.metrics = MetricsPage(
            settings.server_node,
            identity,
            state,
            connection,
            host,
            telemetry.counter,
            telemetry.count_dropped,
        )
        guard = Guard(connection, runner, finisher, state, guards, self._report_exit, log)
        self._listener = listener = Listener(
            self._control_address,
            settings.worker,
            identity.instance,
            commands.handle,
            errors,
            log,
            secret=settings.command_secret,
        )
        self._pulse = pulse = Pulse(
            [guard.tick, self.status.tick, commands.tick, reporter.tick],
            listener,
            state,
            wake,
            errors,
            guards.descriptors,
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
            self._guards.descriptors.check(self._state.job)
            self._log.critical("the main loop failed, so the worker exits", exc_info=error)
            exit_reason = f"internal error: {format_exception_line(error)}"
            self._state.stop(exit_reason, FATAL)
        if self._state.exit_code == FATAL:  # also when the pulse thread failed
            exit_reason = exit_reason or self._state.stop_reason
        self._close(exit_reason)
        return self._state.exit_code

    def _close(self, exit_reason: str) -> None:
        state = self._state
        self._notifier.send("STOPPING=1")
        state.start_shutdown_timer()  # if a step below hangs, the pulse ends the process
        self._runner.close()
        pulse_has_ended = self._pulse.end(PULSE_END_TIMEOUT)
        # From here on, the watchdog ends the process if it hangs.
        self._guards.watchdog.tick(time.monotonic() + CLOSE_TIMEOUT)
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
            self._errors.attempt(self._guards.write_exit, exit_reason)
        elif self._report_exit(exit_reason):
            self._guards.temporary.close()
        self._guards.watchdog.disarm()
        ignore_signals()
        # Python waits for threads that a handler left running. After EXIT_TIMEOUT, exit anyway.
        exit_timer = threading.Timer(EXIT_TIMEOUT, os._exit, (state.exit_code,))
        exit_timer.daemon = True
        try:
            exit_timer.start()
        except RuntimeError:  # there may be so many of them that no more can be started
            os._exit(state.exit_code)

    def _report_exit(self, exit_reason: str) -> bool:
        """Close the sinks and write the last heartbeat with `exit_reason` ("": stopped on request).

        Returns False if Redis did not take the heartbeat. Then the reason is written to the black
        box, where the next instance and the checks find it.
        """
        self._sinks.close(SINK_CLOSE_TIMEOUT)
        self._errors.attempt(self._log_losses)
        try:
            is_written = self._reporter.report_exit(exit_reason, self._state.ending())
        except Exception as error:
            self._errors.report("the last heartbeat", error)
            is_written = False
        if not is_written:
            self._errors.attempt(self._guards.write_exit, exit_reason)
        return is_written

    def _leave_without_descriptors(self, job: RunningJob | None) -> None:
        """Exit at once: the worker's descriptors were closed, and may be other files now.

        The log is opened again for one line. The black box, which is mapped into memory, keeps the
        reason for the next instance.
        """
        self._leaving.acquire()  # never released, so that a second thread reports nothing
        job = job or self._state.job  # it may have begun since the caller looked
        who = f"{job.name} (job {job.id})" if job else "a job or its thread"
        reason = f"{who} closed file descriptors of the worker"
        self._guards.black_box.write_exit(reason)
        self._log_output.restore()
        self._log.critical(
            "the worker exits with {code}: {reason}",
            code=FATAL,
            reason=reason,
            child_processes_killed=kill_descendants(),
        )
        os._exit(FATAL)

    def _control_address(self) -> Address | None:
        """Return the address for the control connection; None before the first connect.

        It is the address that the main connection found, so that the pulse thread needs no name
        lookup, which could block it.
        """
        peer = self._connection.peer
        if isinstance(peer, tuple):
            return Address(peer[0], peer[1])
        return self._settings.address if peer is not None else None
