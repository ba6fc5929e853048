"""Runs a job: decodes it, checks it, calls its handler, and decides the outcome."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import RedisError
from beanwatch.worker.api.app import App, Handler
from beanwatch.worker.api.context import Context, ContextServices
from beanwatch.worker.api.decoders import decode_foreign
from beanwatch.worker.api.envelope import Envelope, EnvelopeError, decode, describe_fault
from beanwatch.worker.api.errors import Bury
from beanwatch.worker.api.resource import Resources
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.decide import (
    OK,
    Verdict,
    count_unacknowledged,
    decide_end,
    decide_poison,
)
from beanwatch.worker.core.ignored_values import IgnoredValues
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.limits import Limits, decide_limits, find_refusal
from beanwatch.worker.guard.deadline import AsyncCalls
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.monitor.exceptions import format_exception_line
from beanwatch.worker.monitor.internal_errors import InternalErrors
from beanwatch.worker.telemetry.run_starts import RunStarts

TOUCH_LOCK_TIMEOUT = 1.0  # seconds that `ctx.touch()` waits for the lock of the connection


class InvalidDataError(Exception):
    """Raised when a job's data does not fit the type that its handler declares."""


class Runner:
    """Runs the jobs of one application, in the main thread."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        connection: WorkerConnection,
        guards: JobGuards,
        resources: Resources,
        *,
        starts: RunStarts,
        ignored: IgnoredValues,
        errors: InternalErrors,
        log: FilteringBoundLogger,
    ) -> None:
        self._app, self._limits = app, limits
        self._connection, self._guards, self._alarm = connection, guards, guards.alarm
        self._resources, self._starts, self._ignored = resources, starts, ignored
        self._errors, self._log = errors, log
        self._async = AsyncCalls()
        self._services = ContextServices(
            self._make_log, guards.make_directory, self._touch, self._put, resources.get
        )
        self._is_child = False
        os.register_at_fork(after_in_child=self._note_fork)

    def run(self, job: RunningJob, *, disk_full: str = "") -> Verdict:
        """Run the job and return the verdict. Raises nothing: `job.error` is what was raised.

        If `disk_full` gives a reason, the job is released instead. It is still decoded, so that
        the run is counted under the job's name.
        """
        try:
            if self._app.decoders:
                if poison := self._find_poison(job, self._most_attempts()):
                    return Verdict("poison", "bury", poison)
                envelope = self._call_decoders(job)
            else:
                envelope = decode(job.body, lambda problem: self._ignore(job, problem))
        except EnvelopeError as wrong:
            job.error = wrong.__cause__
            return Verdict("invalid", "bury", str(wrong))
        except BaseException as raised:  # a decoder ran for too long, or asked the worker to exit
            job.error = raised
            return self.judge(job, raised)
        if ignored := job.set_envelope(envelope):
            self._ignore(job, ignored)
        handler = self._app.handlers.get(envelope.job)
        if handler is not None:
            job.name = handler.name
        if refusal := find_refusal(envelope, job.stats.kicks, job.started_at):
            return Verdict("invalid", "bury", refusal)
        if handler is None:
            reason = f"the application has no handler for the job {envelope.job!r}"
            return Verdict("invalid", "bury", reason)
        if disk_full:
            return Verdict("retry", "release", disk_full)
        limits = decide_limits(envelope, handler, self._limits)
        if poison := self._find_poison(job, limits.max_attempts):
            return Verdict("poison", "bury", poison)
        self._call(handler, job, limits.timeout)
        if isinstance(job.error, InvalidDataError):
            reason, job.error = str(job.error), None
            return Verdict("invalid", "bury", reason)
        return self.judge(job, job.error)

    def judge(self, job: RunningJob, error: BaseException | None) -> Verdict:
        """Decide what happens to a job after its run. Raises nothing.

        If the application's backoff fails, the failure is logged and the default backoff is used.
        """
        if error is None:
            return OK
        limits = decide_limits(job.envelope, self._app.handlers.get(job.name), self._limits)
        attempts, on_timeout = limits.attempts(job.clock()), limits.on_timeout
        unstarted = job.unstarted if job.start_is_recorded else None
        try:
            return decide_end(error, job.stats, attempts, limits.backoff, on_timeout, unstarted)
        except Exception as wrong:
            self._make_log(job).error(
                "the backoff or delay of {job} failed, the worker uses the default backoff",
                exc_info=wrong,
            )
            plain = RuntimeError(format_exception_line(error))
            return decide_end(plain, job.stats, attempts, None, on_timeout, unstarted)

    def _ignore(self, job: RunningJob, problem: str) -> None:
        self._ignored.report(problem, job.queue, job.id)

    def _find_poison(self, job: RunningJob, max_attempts: int) -> str:
        """Record that a run starts. Return why the job must be buried instead; "" if it may run.

        Nothing is recorded if somebody acknowledged each earlier delivery of the job. The number of
        those that never became a run is stored in `job.unstarted`.
        """
        if not max_attempts or count_unacknowledged(job.stats) <= 0:
            return ""
        server, delivery = self._connection.server_id, job.stats.reserves
        try:
            known = self._guards.temporary.find_runs(server, job.id)
            started = self._starts.record(server, job.id, delivery, known)
        except RedisError as error:
            poison = decide_poison(job.stats, max_attempts, None)
            return poison and f"{poison}: {error}"
        job.start_is_recorded = True
        job.unstarted = max(0, count_unacknowledged(job.stats) - started)
        return decide_poison(job.stats, max_attempts, started)

    def _most_attempts(self) -> int:
        """Return the highest limit of all handlers, for a job whose name is not known yet."""
        handlers = self._app.handlers.values()
        limits = [self._limits.max_attempts]
        limits += [one.max_attempts for one in handlers if one.max_attempts is not None]
        return max(limits) if all(limits) else 0

    def clean_up(
        self,
        job: RunningJob,
        timeout: float,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Remove the job's temporary files. Log a warning if some cannot be removed.

        Waits as `TemporaryRoot.remove` does: a disk that hangs does not stop the worker.
        """
        if left := self._guards.remove_directory(job, timeout, must_stop):
            self._log.warning(
                "the temporary files of {job} could not be removed: {left}", job=job.name, left=left
            )

    def close(self) -> None:
        """Close the resources and the event loop. Exceptions are reported, not raised."""
        self._resources.close()
        self._errors.attempt(self._async.close)

    def _call_decoders(self, job: RunningJob) -> Envelope:
        """Return the job's envelope. The application's decoders are guarded as its handlers are."""
        job.start(self._limits.timeout, self._limits.grace)
        job.note_place(0, is_part=False)
        self._guards.start_job(job, self._connection.server_id)
        try:
            self._alarm.arm(self._limits.timeout)
            return decode_foreign(
                self._app.decoders, job.body, lambda problem: self._ignore(job, problem)
            )
        finally:
            self._alarm.disarm()

    def _call(self, handler: Handler, job: RunningJob, timeout: float) -> None:
        job.start(timeout, self._limits.grace)
        job.note_place(0, is_part=False)
        ctx = Context(job, self._services)
        self._resources.before_job()
        self._guards.start_job(job, self._connection.server_id)
        try:
            try:
                self._alarm.arm(timeout)
                data = _decode(handler, job)  # under the alarm: it may be slow
                for before in self._app.before:
                    before(ctx)
                if (result := handler.function(ctx, data)) is not None:
                    self._await(result, job)
            finally:
                self._alarm.disarm()
        except BaseException as raised:  # also SystemExit: it must not end the worker
            job.error = raised
        if self._is_child:
            _exit_child(job.error)
        self._guards.descriptors.check_after_job(job)
        for after in () if isinstance(job.error, InvalidDataError) else self._app.after:
            try:
                after(ctx, job.error)
            except BaseException as failed:  # also SystemExit: it must not end the worker
                self._errors.report("an after_job hook", failed, self._make_log(job))
        self._resources.after_job()

    def _await(self, result: object, job: RunningJob) -> None:
        """Run the result of a handler if it is awaitable: a decorator can hide an async handler.

        Raises Bury for a generator, because calling a generator function runs none of its code.
        """
        if isinstance(result, Awaitable):
            self._alarm.divert(self._async.interrupt)
            self._async.run(result, job)
        elif isinstance(result, Generator | AsyncGenerator):
            raise Bury(
                "the handler returned a generator, which the worker cannot run: "
                "use a function without `yield`"
            )

    def _note_fork(self) -> None:
        self._is_child = True

    def _make_log(self, job: RunningJob) -> FilteringBoundLogger:
        return self._log.bind(
            queue=job.queue,
            job_id=job.id,
            id=job.uuid,
            job=job.name,
            attempt=job.attempt,
        )

    def _touch(self) -> bool:
        with self._alarm.shield():
            return self._connection.touch(TOUCH_LOCK_TIMEOUT)

    def _put(
        self, job: RunningJob, queue: str, body: bytes, priority: int, delay: int, ttr: int
    ) -> int:
        with self._alarm.shield():
            return self._connection.put(queue, body, priority, delay, ttr, during_job=job.id)


def _decode(handler: Handler, job: RunningJob) -> Any:
    try:
        return handler.decode_data(job.envelope.data)
    except Exception as wrong:
        is_fault = isinstance(wrong, ValueError)
        text = describe_fault(wrong) if is_fault else format_exception_line(wrong)
        raise InvalidDataError(f"the data does not fit the handler: {text}") from None


def _exit_child(error: BaseException | None) -> None:
    """Exit from a child process that a handler forked and that returned from the handler.

    The job and the connection belong to the parent process.
    """
    code = error.code if isinstance(error, SystemExit) else int(error is not None)
    os._exit(code if isinstance(code, int) else int(code is not None))
