"""Watches a Celery 5 application: `from beanwatch.worker.adapters.celery import watch; watch(app)`.

In a web application, which only puts jobs, this does nothing. In `celery worker` the main process
beats as HOST.NAME, where NAME is the part of `-n NAME@...` before the @. With the pool prefork,
each process of the pool beats too, as HOST.NAME-1 and so on: it runs the jobs, while the main
process keeps the connection to the broker. Solo and threads run jobs in the main process.
"""

import atexit
import os
import signal
import sys
import threading
from typing import Any

from billiard import current_process
from celery import Celery, bootsteps, signals, states
from celery.exceptions import SoftTimeLimitExceeded

from beanwatch.worker import CommandRequest, MonitoredRun, WorkerMonitor
from beanwatch.worker.adapters.celery_lost import (
    find_queue,
    report_revoked,
    report_unknown,
    watch_requests,
)
from beanwatch.worker.adapters.hold import Hold
from beanwatch.worker.adapters.names import clean_name
from beanwatch.worker.adapters.quietly import complain, quietly
from beanwatch.worker.monitor.exceptions import format_exception_line

CONNECTS_WITHIN = 10.0  # seconds after the start; a worker without a broker is blocked then
MAX_IDLE = 60.0  # seconds
EX_RECYCLE = 155  # exit code of a process of the pool that has reached a limit of Celery's


def watch(app: Celery, name: str = "") -> None:
    """Watch the workers of an application. `name`: in place of the part of `-n` before the @."""
    if not hasattr(app, "_beanwatch"):
        app._beanwatch = _AppWatch(app, name)


class _AppWatch:
    """Connects a monitor to Celery's signals, in the worker processes of one application."""

    def __init__(self, app: Celery, name: str) -> None:
        self.monitor: WorkerMonitor | None = None  # None: this process is no worker
        self._app, self._name = app, name
        self._is_told_to_stop = self._is_child = False
        self._runs: dict[tuple[int, str], MonitoredRun] = {}  # by thread and id of the task
        self._timer: Any = None
        self._lost = ""  # why the broker was lost
        self._consumer: Any = None  # of Celery
        self._hold = Hold(self._cancel_queues, self._consume_queues)
        self._held: list[str] = []  # queues
        step = type("BeanwatchStep", (_BrokerStep,), {"watch": self})
        app.steps["consumer"].add(step)
        for sent, handler in (
            (signals.celeryd_after_setup, self._start),
            (signals.worker_process_init, self._start_child),
            (signals.worker_process_shutdown, self._stop_child),
            (signals.worker_shutting_down, self._begin_stop),
            (signals.worker_shutdown, self._stop),
            (signals.task_prerun, self._begin),
            (signals.task_postrun, self._end),
            (signals.task_revoked, self._report_revoked),
            (signals.task_unknown, self._report_unknown),
        ):
            sent.connect(handler, weak=False)

    # -- processes

    @quietly
    def _start(self, instance: Any = None, **_: Any) -> None:
        """Watch the main process. Its pool forks after this."""
        if instance is None or instance.app is not self._app:
            return
        pool = instance.pool_cls
        if getattr(pool, "is_green", False):
            complain("a pool of greenlets cannot be watched: one that hangs would stop the beat")
            return
        name = self._name or instance.hostname.partition("@")[0]
        self.monitor = WorkerMonitor(
            clean_name(name, "celery"),
            list(self._app.amqp.queues.consume_from),
            kind="celery",
            # Without an event loop, Celery's timer is a thread of its own and says nothing.
            max_idle=MAX_IDLE if instance.use_eventloop else 0.0,
            has_own_loop=not pool.__module__.endswith(".solo"),
            commands={
                "stop": self._obey_stop,
                "restart": self._obey_restart,
                "wait": self._hold.wait,
                "resume": self._hold.resume,
            },
        )
        self.monitor.start()
        atexit.register(self._tell_unwanted_end)  # runs before the monitor's own
        watch_requests(self._app, self.monitor)
        timer = threading.Timer(CONNECTS_WITHIN, self._tell_unconnected)
        timer.daemon = True
        timer.start()

    @quietly
    def _start_child(self, **_: Any) -> None:
        index = getattr(current_process(), "index", None)  # a new process takes that of a lost one
        if self.monitor is not None and index is not None:
            self._is_child = True
            self.monitor.become_child(index + 1)
            self.monitor.ready()

    @quietly
    def _stop_child(self, exitcode: int | None = None, **_: Any) -> None:
        if self.monitor is None or not self._is_child:
            return
        failure = ""
        if exitcode is not None and 0 < exitcode != EX_RECYCLE:
            failure = f"its process ended with exit code {exitcode}"
        self.monitor.stop("its pool has ended it", failure=failure)

    @quietly
    def _begin_stop(self, sig: str = "", how: str = "", **_: Any) -> None:
        """A signal arrived; this runs in its handler."""
        self._is_told_to_stop = True
        if self.monitor is not None:
            self.monitor.stopping(f"{how.lower()} shutdown by {sig}")

    @quietly
    def _stop(self, sender: Any = None, **_: Any) -> None:
        if self.monitor is None or sender.app is not self._app:
            return
        failure, error = "", sys.exc_info()[1]
        if sender.exitcode and not self._is_told_to_stop:
            failure = f"Celery ended with exit code {sender.exitcode}"
            if isinstance(error, Exception):
                failure += f": {format_exception_line(error)}"
        self.monitor.stop(failure=failure)

    @quietly
    def _tell_unwanted_end(self) -> None:
        """Celery has ended without its signal, as it does if it has too many open files."""
        is_unwanted = not (self._is_told_to_stop or self._is_child)
        if self.monitor is not None and is_unwanted and not hasattr(sys, "last_value"):
            self.monitor.stop(failure="Celery ended without being told to, see its log")

    # -- the broker

    @quietly
    def connected(self, consumer: Any) -> None:
        """The main process takes jobs from the broker."""
        if self.monitor is None:
            return
        self._consumer = consumer
        self.monitor.ready()
        if self._hold.reason:
            self.monitor.paused(self._hold.reason)
        if consumer.hub is not None:  # its timer runs in the main loop
            if self._timer is not None:
                self._timer.cancel()
            self._timer = consumer.timer.call_repeatedly(1.0, self.monitor.loop)

    @quietly
    def disconnected(self, consumer: Any, error: BaseException | None = None) -> None:
        """The connection was lost, or the worker stops."""
        if self.monitor is not None and consumer.blueprint.state == bootsteps.RUN:
            why = "" if error is None else f": {format_exception_line(error)}"
            self._lost = why or self._lost
            self.monitor.blocked(f"lost its broker {consumer.conninfo.as_uri()}{self._lost}")

    @quietly
    def _tell_unconnected(self) -> None:
        if self.monitor is not None and not self.monitor.is_ready:
            broker = self._app.connection_for_read().as_uri()
            self.monitor.blocked(f"cannot connect to its broker {broker}")

    # -- commands

    def _obey_stop(self, request: CommandRequest) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "stops after its running jobs"

    def _obey_restart(self, request: CommandRequest) -> str:
        if not callable(signal.getsignal(signal.SIGHUP)):
            raise RuntimeError("cannot restart: Celery does so only without a terminal")
        os.kill(os.getpid(), signal.SIGHUP)
        return "restarts after its running jobs"

    def _cancel_queues(self, reason: str) -> None:
        if self.monitor is None or self._consumer is None:
            raise RuntimeError("is not connected to its broker")
        self.monitor.paused(reason)
        self._held = self._held or list(self._app.amqp.queues.consume_from)
        for queue in self._held:
            self._consumer.call_soon(self._consumer.cancel_task_queue, queue)

    def _consume_queues(self) -> None:
        queues, self._held = self._held, []
        self._app.amqp.queues.select(queues)
        for queue in queues:
            self._consumer.call_soon(self._consumer.add_task_queue, queue)
        if self.monitor is not None:
            self.monitor.ready()

    # -- jobs

    @quietly
    def _begin(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        if self.monitor is None or task.request.is_eager:
            return
        request = task.request
        hard, soft = request.timelimit or (None, None)
        hard, soft = hard or task.time_limit, soft or task.soft_time_limit
        self._runs[threading.get_ident(), task_id] = self.monitor.begin(
            find_queue(self._app, request.delivery_info),
            task.name,
            task_id,
            attempt=(request.retries or 0) + 1,
            timeout=soft or hard,
            hard_timeout=hard,
        )

    @quietly
    def _end(self, task_id: str = "", state: str = "", retval: Any = None, **_: Any) -> None:
        run = self._runs.pop((threading.get_ident(), task_id), None)
        if run is None:
            return
        error = retval if isinstance(retval, BaseException) else None
        if state == states.SUCCESS:
            run.end()
        elif state == states.RETRY:
            when, cause = getattr(retval, "when", None), getattr(retval, "exc", None)
            delay = float(when) if isinstance(when, (int, float)) else 0.0
            run.end("retry", format_exception_line(cause or retval), error=error, delay=delay)
        elif state == states.REJECTED:
            is_requeued = getattr(retval, "requeue", False)
            run.end("retry" if is_requeued else "failed", f"rejected: {retval}")
        elif state == states.IGNORED:
            run.end("discarded", "the task raised Ignore")
        elif state == states.FAILURE:
            is_timeout = isinstance(error, SoftTimeLimitExceeded)
            run.end("timeout" if is_timeout else "failed", error=error)
        elif not self._is_child:  # of a child that ends, the main process reports the job
            run.end("failed", "its process was told to end", error=sys.exc_info()[1])

    @quietly
    def _report_revoked(self, sender: Any = None, request: Any = None, **how: Any) -> None:
        if self.monitor is not None and not self._is_child:
            queue = find_queue(self._app, request.delivery_info)
            report_revoked(self.monitor, queue, sender.name, request, **how)

    @quietly
    def _report_unknown(self, message: Any = None, exc: Any = None, id: Any = "", **_: Any) -> None:  # noqa: A002 - Celery's word
        if self.monitor is not None:
            queue = find_queue(self._app, message.delivery_info)
            report_unknown(self.monitor, queue, id, exc)


class _BrokerStep(bootsteps.StartStopStep):
    """Celery starts this after it has connected to its broker, and stops it at a disconnect."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    watch: _AppWatch

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        # To close what is left of a lost connection may take minutes: tell the loss before that.
        close = parent.on_connection_error_after_connected

        def tell_and_close(error: BaseException) -> None:
            self.watch.disconnected(parent, error)
            close(error)

        parent.on_connection_error_after_connected = tell_and_close
        super().__init__(parent, **kwargs)

    def start(self, parent: Any) -> None:
        """Celery consumes from its queues."""
        self.watch.connected(parent)

    def stop(self, parent: Any) -> None:
        """Celery has lost the connection, or stops."""
        self.watch.disconnected(parent)
