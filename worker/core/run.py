"""One run of one job: decode it, check it, call its handler, and judge how it ended."""

import os
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api.app import App, Handler
from beanwatch.worker.api.context import Context, ContextServices
from beanwatch.worker.api.envelope import EnvelopeError, decode
from beanwatch.worker.api.errors import Bury
from beanwatch.worker.api.resource import Resources
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.decide import (
    OK,
    Verdict,
    decide_end,
    decide_poison,
    format_exception_line,
)
from beanwatch.worker.core.internal_errors import InternalErrors
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.guard.deadline import AsyncCalls
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.guard.stacks import find_handler_frame

TOUCH_LOCK_TIMEOUT = 1.0  # seconds for a handler's own touch


class Limits(NamedTuple):
    """Defaults for handlers that do not set their own (seconds)."""

    timeout: float
    grace: float
    max_attempts: int


class InvalidDataError(Exception):
    """The job's data does not fit the type that its handler declares."""


class Runner:
    """Runs jobs of one application in the main thread."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        connection: WorkerConnection,
        guards: JobGuards,
        resources: Resources,
        errors: InternalErrors,
        log: FilteringBoundLogger,
    ) -> None:
        self._app, self._limits = app, limits
        self._connection, self._guards, self._alarm = connection, guards, guards.alarm
        self._resources, self._errors, self._log = resources, errors, log
        self._async = AsyncCalls()
        self._services = ContextServices(
            self._make_log, guards.make_directory, self._touch, self._put, resources.get
        )
        self._is_child = False
        os.register_at_fork(after_in_child=self._note_fork)

    def run(self, job: RunningJob, *, disk_full: str = "") -> tuple[Verdict, BaseException | None]:
        """Run the job and return the verdict, with the handler's error. Raises nothing.

        `disk_full`: give the job back for this reason. It is decoded all the same, so that the run
        is counted under the job's name.
        """
        try:
            envelope = decode(job.body)
        except EnvelopeError as wrong:
            return Verdict("invalid", "bury", str(wrong)), None
        job.set_envelope(envelope)
        handler = self._app.handlers.get(envelope.job)
        if handler is None:
            return Verdict("invalid", "bury", f"no handler for the job {envelope.job!r}"), None
        job.name = handler.name
        if disk_full:
            return Verdict("retry", "release", disk_full), None
        if poison := decide_poison(job.stats, self._max_attempts(handler)):
            return Verdict("poison", "bury", poison), None
        error = self._call(handler, job)
        if isinstance(error, InvalidDataError):
            return Verdict("invalid", "bury", str(error)), None
        return self.judge(job, error), error

    def judge(self, job: RunningJob, error: BaseException | None) -> Verdict:
        """The verdict on a job that ran. Raises nothing, even if the application's backoff does."""
        if error is None:
            return OK
        handler = self._app.handlers[job.name]
        attempts, on_timeout = self._max_attempts(handler), handler.on_timeout
        try:
            return decide_end(error, job.stats, attempts, handler.backoff, on_timeout)
        except Exception as wrong:
            self._make_log(job).error("the job's own backoff or delay failed", exc_info=wrong)
            plain = RuntimeError(format_exception_line(error))
            return decide_end(plain, job.stats, attempts, None, on_timeout)

    def _max_attempts(self, handler: Handler) -> int:
        own = handler.max_attempts
        return self._limits.max_attempts if own is None else own

    def current_line(self) -> str:
        """The line that the running handler is executing, as `file:line function`, or ""."""
        return find_handler_frame(self._async.coroutine)

    def clean_up(self, job: RunningJob) -> None:
        """Remove the job's temporary files."""
        if left := self._guards.remove_directory(job):
            self._log.warning("temporary files of {job} stay: {left}", job=job.name, left=left)

    def forget(self) -> None:
        """Forget the job, now that it is acknowledged: a later crash is not its fault."""
        self._guards.end_job()

    def close(self) -> None:
        """Close the resources and the event loop. Raises nothing."""
        self._resources.close()
        self._errors.attempt(self._async.close)

    def _call(self, handler: Handler, job: RunningJob) -> BaseException | None:
        # The heartbeat finds the handler's line on the stack by the name of this function.
        timeout = self._limits.timeout if handler.timeout is None else handler.timeout
        job.start(timeout, self._limits.grace)
        ctx = Context(job, self._services)
        error: BaseException | None = None
        self._resources.before_job()
        self._guards.start_job(job)
        try:
            try:
                self._alarm.arm(timeout)
                data = _decode(handler, job)  # in here: the application's own types may be slow
                for before in self._app.before:
                    before(ctx)
                if (result := handler.function(ctx, data)) is not None:
                    self._await(result)
            finally:
                self._alarm.disarm()
        except BaseException as raised:  # a handler's SystemExit must not end the worker either
            error = raised
        if self._is_child:
            _exit_child(error)
        for after in () if isinstance(error, InvalidDataError) else self._app.after:
            try:
                after(ctx, error)
            except BaseException as failed:  # its SystemExit neither
                self._errors.report("an after_job hook", failed, self._make_log(job))
        self._resources.after_job()
        return error

    def _await(self, result: object) -> None:
        """Run an awaitable that the handler returned: a decorator can hide that it is async."""
        if isinstance(result, Awaitable):
            self._alarm.divert(self._async.interrupt)
            self._async.run(result)
        elif isinstance(result, Generator | AsyncGenerator):
            raise Bury("the handler is a generator, or returned one, of which nothing has run")

    def _note_fork(self) -> None:
        self._is_child = True

    def _make_log(self, job: RunningJob) -> FilteringBoundLogger:
        return self._log.bind(
            queue=job.queue,
            job_id=job.id,
            id=job.uuid,
            job=job.name,
            attempt=job.stats.reserves,
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
        text = str(wrong) if isinstance(wrong, ValueError) else format_exception_line(wrong)
        raise InvalidDataError(f"data: {text}") from None


def _exit_child(error: BaseException | None) -> None:
    """End a child process that a handler forked and that came back here.

    The job and the connection belong to its parent.
    """
    code = error.code if isinstance(error, SystemExit) else int(error is not None)
    os._exit(code if isinstance(code, int) else int(code is not None))
