"""Middleware for Dramatiq 1 and 2: `broker.add_middleware(BeanwatchMiddleware())`.

Each worker process beats as HOST.NAME-N, with the jobs of all its threads. N is the lowest number
that no other process of the host has. A process that only puts jobs is not watched.
"""

import math
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

from dramatiq.middleware import Middleware, TimeLimit, TimeLimitExceeded

from beanwatch.worker import CommandRequest, MonitoredRun, WorkerMonitor
from beanwatch.worker.adapters.hold import Hold
from beanwatch.worker.adapters.names import claim_name, claim_once, clean_name
from beanwatch.worker.adapters.quietly import quietly
from beanwatch.worker.monitor.exceptions import format_exception_line

TURN_WITHIN = 30.0  # seconds; each consumer turns once a second, unless it hangs
TIME_LIMIT = 600_000  # milliseconds; the default of Dramatiq


class _Job(threading.local):
    """The job that a thread runs, until it is acknowledged."""

    run: MonitoredRun | None = None
    error: BaseException | None = None
    skipped = ""  # why it was not run


class BeanwatchMiddleware(Middleware):
    """Reports the jobs of this process. `name` is the beginning of its name."""

    def __init__(self, name: str = "dramatiq") -> None:
        self.monitor: WorkerMonitor | None = None  # None: this process is no worker
        self._name = clean_name(name, "dramatiq")
        self._job = _Job()
        self._time_limit: float = TIME_LIMIT
        self._problems: dict[str, str] = {}  # of consumers, by queue
        self._turned_at: dict[str, float] = {}  # by queue; monotonic
        self._lock = threading.Lock()
        self._worker: Any = None  # of Dramatiq
        self._hold = Hold(self._pause, self._resume)
        self._is_stopping = False

    # -- the process

    @quietly
    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        """Watch this process, and its consumers."""
        queues = worker.consumer_whitelist or broker.get_declared_queues()
        limits = [one.time_limit for one in broker.middleware if isinstance(one, TimeLimit)]
        self._time_limit = limits[0] if limits else math.inf
        self.monitor = WorkerMonitor(
            claim_name(self._name),
            sorted(queues),
            kind="dramatiq",
            has_own_loop=True,
            commands={
                "stop": self._obey_stop,
                "restart": self._obey_restart,
                "wait": self._hold.wait,
                "resume": self._hold.resume,
            },
        )
        self._worker = worker
        if not queues:
            self.monitor.blocked("no actor is declared, so it has no queue", is_disconnected=False)
        self.monitor.start()
        _watch_consumers(broker, self)

    @quietly
    def before_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """The worker stops after its jobs."""
        self._is_stopping = True
        if self.monitor is not None:
            self.monitor.stopping("it was told to stop")

    @quietly
    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """The worker has stopped."""
        if self.monitor is not None:
            self.monitor.stop()

    # -- commands

    def _obey_stop(self, request: CommandRequest) -> str:
        return self._signal_all(signal.SIGTERM, "stops")

    def _obey_restart(self, request: CommandRequest) -> str:
        return self._signal_all(signal.SIGHUP, "restarts")

    def _signal_all(self, signum: signal.Signals, verb: str) -> str:
        """Tell the main process; it passes a signal on to all of its processes.

        A second signal would end the running jobs, so only one process may send one.
        """
        main = multiprocessing.parent_process()
        if main is None or main.pid is None:
            raise RuntimeError("cannot do this: it was not started by the command dramatiq")
        if not self._is_stopping and claim_once(f"end-{main.pid}"):
            os.kill(main.pid, signum)
        return f"{verb} after its running jobs, as do all processes of its dramatiq command"

    def _pause(self, reason: str) -> None:
        if self.monitor is not None:
            self.monitor.paused(reason)
        # A consumer that pauses gives back its jobs, those that run too: others would run them.
        for thread in self._worker.workers:
            thread.pause()

    def _resume(self) -> None:
        for thread in self._worker.workers:
            thread.resume()
        if self.monitor is not None:
            self.monitor.ready()

    # -- the broker

    @quietly
    def consumer_turned(self, queue: str, problem: BaseException | None = None) -> None:
        """A consumer has looked for jobs, or could not because of `problem`."""
        if self.monitor is None:
            return
        with self._lock:
            now = self._turned_at[queue] = time.monotonic()
            was_blocked = bool(self._problems)
            if problem is None:
                self._problems.pop(queue, None)
            else:
                self._problems[queue] = format_exception_line(problem)
            reason = next(iter(self._problems.values()), "")
            all_turn = min(self._turned_at.values()) > now - TURN_WITHIN
        if reason:
            self.monitor.blocked(f"cannot use its broker: {reason}")
        elif was_blocked or not self.monitor.is_ready:
            self.monitor.ready()
            if self._hold.reason:
                self.monitor.paused(self._hold.reason)
        elif all_turn:
            self.monitor.loop()

    # -- jobs

    @quietly
    def before_process_message(self, broker: Any, message: Any) -> None:
        """A thread begins a job."""
        if self.monitor is None:
            return
        actor = broker.get_actor(message.actor_name)
        limit = message.options.get("time_limit") or actor.options.get("time_limit")
        self._begin(message, self._time_limit if limit is None else limit)

    def _begin(self, message: Any, limit: float) -> None:
        if self.monitor is None:
            return
        job = self._job
        job.error, job.skipped = None, ""
        job.run = self.monitor.begin(
            message.queue_name,
            message.actor_name,
            message.message_id,
            attempt=(message.options.get("retries") or 0) + 1,
            timeout=limit / 1000,
        )

    @quietly
    def after_process_message(
        self,
        broker: Any,
        message: Any,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """A job has run. Whether it runs again is decided after this."""
        self._job.error = exception

    @quietly
    def after_skip_message(self, broker: Any, message: Any) -> None:
        """Some middleware has skipped a job, perhaps before this one saw it."""
        if self._job.run is None:
            self._begin(message, math.inf)
        error = getattr(message, "_exception", None)
        self._job.skipped = f"skipped: {format_exception_line(error)}" if error else "skipped"

    @quietly
    def before_ack(self, broker: Any, message: Any) -> None:
        """A job is over: done, skipped, or put again."""
        job, run = self._job, self._take_run()
        if run is None:
            return
        if job.skipped:
            run.end("discarded", job.skipped)
        elif job.error is None:
            run.end()
        elif (message.options.get("retries") or 0) >= run.attempt:
            run.end("retry", error=job.error)
        else:
            run.end("failed", error=job.error)

    @quietly
    def before_nack(self, broker: Any, message: Any) -> None:
        """A job goes to the dead letters."""
        job, run = self._job, self._take_run()
        if run is not None:
            is_timeout = isinstance(job.error, TimeLimitExceeded)
            run.end("timeout" if is_timeout else "buried", job.skipped, error=job.error)
        elif self.monitor is not None:  # no actor has its name, which could be anybody's invention
            reason = f"no actor {message.actor_name!r}"
            self.monitor.begin(message.queue_name, "unknown", message.message_id).end(
                "invalid", reason
            )

    def _take_run(self) -> MonitoredRun | None:
        run, self._job.run = self._job.run, None
        return run


class _WatchedConsumer:
    """Passes everything on to a consumer of Dramatiq, and tells the middleware whether it works."""

    def __init__(self, consumer: Any, queue: str, middleware: BeanwatchMiddleware) -> None:
        self._consumer, self._queue, self._middleware = consumer, queue, middleware

    def __iter__(self) -> "_WatchedConsumer":
        return self

    def __next__(self) -> Any:
        try:
            message = next(self._consumer)
        except Exception as error:
            self._middleware.consumer_turned(self._queue, error)
            raise
        self._middleware.consumer_turned(self._queue)
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def _watch_consumers(broker: Any, middleware: BeanwatchMiddleware) -> None:
    consume = broker.consume

    def consume_watched(queue_name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            consumer = consume(queue_name, *args, **kwargs)
        except Exception as error:
            middleware.consumer_turned(queue_name, error)
            raise
        return _WatchedConsumer(consumer, queue_name, middleware)

    broker.consume = consume_watched
