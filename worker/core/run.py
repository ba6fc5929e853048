"""One run of one job: read it, judge it, call its handler, and say how it ended."""

import os
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api.app import App, Handler
from beanwatch.worker.api.context import Context, Means
from beanwatch.worker.api.envelope import EnvelopeError, decode
from beanwatch.worker.api.errors import Bury
from beanwatch.worker.api.resource import Resources
from beanwatch.worker.core.connection import Session, SessionError
from beanwatch.worker.core.decide import OK, Verdict, decide_end, decide_poison, describe
from beanwatch.worker.core.job import Held
from beanwatch.worker.guard.deadline import AsyncCalls
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.guard.stacks import find_handler_frame


class Limits(NamedTuple):
    """What holds for a handler that says nothing else. Seconds."""

    timeout: float
    grace: float
    max_attempts: int


class InvalidDataError(Exception):
    """The data of a job is not what its handler takes."""


class Runner:
    """Runs jobs of one application in the main thread."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        session: Session,
        guards: JobGuards,
        resources: Resources,
        log: FilteringBoundLogger,
    ) -> None:
        self._app, self._limits = app, limits
        self._session, self._guards, self._alarm = session, guards, guards.alarm
        self._resources, self._log = resources, log
        self._async = AsyncCalls()
        self._means = Means(
            self._bind, guards.make_directory, self._touch, self._put, resources.get
        )
        self._is_child = False
        os.register_at_fork(after_in_child=self._forked)

    def run(self, held: Held, *, no_room: str = "") -> tuple[Verdict, BaseException | None]:
        """Run the job and return the verdict, with the handler's error. Raises nothing.

        `no_room` on the disk: the job is given back, but read, to be counted by its name.
        """
        try:
            envelope = decode(held.body)
        except EnvelopeError as wrong:
            return Verdict("invalid", "bury", str(wrong)), None
        held.read(envelope)
        handler = self._app.handlers.get(envelope.job)
        if handler is None:
            return Verdict("invalid", "bury", f"no handler for the job {envelope.job!r}"), None
        held.name = handler.name
        if no_room:
            return Verdict("retry", "release", no_room), None
        if poison := decide_poison(held.facts, self._max_attempts(handler)):
            return Verdict("poison", "bury", poison), None
        error = self._call(handler, held)
        if isinstance(error, InvalidDataError):
            return Verdict("invalid", "bury", str(error)), None
        return self.judge(held, error), error

    def judge(self, held: Held, error: BaseException | None) -> Verdict:
        """What becomes of a job that ran. Raises nothing, whatever the application's backoff."""
        if error is None:
            return OK
        handler = self._app.handlers[held.name]
        attempts, on_timeout = self._max_attempts(handler), handler.on_timeout
        try:
            return decide_end(error, held.facts, attempts, handler.backoff, on_timeout)
        except Exception as wrong:
            self._bind(held).error("the job's own backoff or delay failed", exc_info=wrong)
            plain = RuntimeError(describe(error))
            return decide_end(plain, held.facts, attempts, None, on_timeout)

    def _max_attempts(self, handler: Handler) -> int:
        given = handler.max_attempts
        return self._limits.max_attempts if given is None else given

    def where(self) -> str:
        """The line that the running handler is at."""
        return find_handler_frame(self._async.coroutine)

    def clean_up(self, held: Held) -> None:
        """Remove what the run left on the disk."""
        if left := self._guards.remove_directory(held):
            self._log.warning("temporary files of {job} stay: {left}", job=held.name, left=left)

    def let_go(self) -> None:
        """The job is acknowledged: who dies now had none in hand."""
        self._guards.end_job()

    def close(self) -> None:
        """Close the resources and the event loop."""
        self._resources.close()
        self._async.close()

    def _call(self, handler: Handler, held: Held) -> BaseException | None:
        timeout = self._limits.timeout if handler.timeout is None else handler.timeout
        held.start(timeout, self._limits.grace)
        ctx = Context(held, self._means)
        error: BaseException | None = None
        self._resources.before_job()
        self._guards.start_job(held)
        try:
            try:
                self._alarm.arm(timeout)
                data = _decode(handler, held)  # the application's own types may take their time
                for before in self._app.before:
                    before(ctx)
                if (result := handler.function(ctx, data)) is not None:
                    self._finish(result)
            finally:
                self._alarm.disarm()
        except BaseException as raised:  # SystemExit too: no handler ends the worker by accident
            error = raised
        if self._is_child:
            _leave_child(error)
        for after in () if isinstance(error, InvalidDataError) else self._app.after:
            try:
                after(ctx, error)
            except BaseException as failed:  # SystemExit, too
                self._bind(held).error("a hook after the job failed", exc_info=failed)
        self._resources.after_job()
        return error

    def _finish(self, result: object) -> None:
        """Run what the handler is so far only the promise of; a decorator may hide that it is."""
        if isinstance(result, Awaitable):
            self._alarm.divert(self._async.interrupt)
            self._async.run(result)
        elif isinstance(result, Generator | AsyncGenerator):
            raise Bury("the handler is a generator, or returned one, of which nothing has run")

    def _forked(self) -> None:
        self._is_child = True

    def _bind(self, held: Held) -> FilteringBoundLogger:
        return self._log.bind(
            queue=held.queue,
            job_id=held.id,
            id=held.uuid,
            job=held.name,
            attempt=held.facts.reserves,
        )

    def _touch(self) -> bool:
        with self._alarm.shield():
            return self._session.touch(1.0)

    def _put(self, queue: str, body: bytes, priority: int, delay: int, ttr: int) -> int:
        if self._session.is_open and not self._session.held:
            # Its answer would be taken for that to the wait for the next job, or that for it.
            raise SessionError("the job is over: a thread of it that lives on puts no jobs")
        with self._alarm.shield():
            return self._session.put(queue, body, priority, delay, ttr)


def _decode(handler: Handler, held: Held) -> Any:
    try:
        return handler.decode_data(held.envelope.data)
    except Exception as wrong:
        text = str(wrong) if isinstance(wrong, ValueError) else describe(wrong)
        raise InvalidDataError(f"data: {text}") from None


def _leave_child(error: BaseException | None) -> None:
    """A handler forked, and the child came back to us: the job and the socket are its parent's."""
    code = error.code if isinstance(error, SystemExit) else int(error is not None)
    os._exit(code if isinstance(code, int) else int(code is not None))
