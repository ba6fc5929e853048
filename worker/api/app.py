"""App: an application registers its job handlers, resources and hooks here."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, get_type_hints

import msgspec

from beanwatch.queues.servers import DEFAULT_SERVER
from beanwatch.worker.api.context import Context
from beanwatch.worker.api.decoders import MAX_TIMEOUT, Decoder, OnTimeout
from beanwatch.worker.api.envelope import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    EnvelopeError,
    FollowUp,
    describe_fault,
    raw_data,
)
from beanwatch.worker.api.producer import Producer, Put
from beanwatch.worker.core.decide import Backoff

F = TypeVar("F", bound=Callable[..., Any])
H = TypeVar("H", bound=Callable[..., object])
BeforeHook = Callable[[Context], object]
AfterHook = Callable[[Context, BaseException | None], object]


class Handler:
    """A registered handler: the function for jobs of one name, its data type and its limits.

    Raises ValueError for an invalid timeout, TypeError for a function that cannot be a handler.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        timeout: float | None,
        max_attempts: int | None,
        backoff: Backoff,
        on_timeout: OnTimeout,
    ) -> None:
        if timeout is not None and not 0 < timeout < MAX_TIMEOUT:
            limits = f"more than 0 and less than {MAX_TIMEOUT:.0e} seconds"
            raise ValueError(f"job {name!r}: the timeout must be {limits}, not {timeout!r}")
        self.name = name
        self.function = function
        self.timeout = timeout
        self.max_attempts = max_attempts
        self.backoff = backoff
        self.on_timeout = on_timeout
        if _would_not_run(function):
            raise TypeError(f"job {name!r}: the handler must not yield, or it would never run")
        try:
            self.decode_data = msgspec.json.Decoder(data_type(function)).decode
        except TypeError as error:
            raise TypeError(f"job {name!r}: cannot use the handler: {error}") from None


class Resource:
    """The registration of something that jobs share, such as a database connection.

    `make` returns a context manager that opens it. It is closed after `max_idle` seconds unused.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]], max_idle: float) -> None:
        self.make = make
        self.max_idle = max_idle


class App:
    """An application: its job handlers by name. A worker buries jobs with an unregistered name.

    app = App()

    @app.job("email.send", timeout=30)
    def send(ctx: Context, data: Email) -> None: ...
    """

    def __init__(self, *, version: str = "") -> None:
        self.version = version
        self.handlers: dict[str, Handler] = {}
        self.resources: dict[str, Resource] = {}
        self.decoders: list[Decoder] = []
        self.before: list[BeforeHook] = []
        self.after: list[AfterHook] = []
        self._producers: dict[str, Producer] = {}

    def job(
        self,
        name: str,
        *,
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: Backoff = None,
        on_timeout: OnTimeout = "retry",
    ) -> Callable[[F], F]:
        """Register a handler, sync or async: `handler(ctx, data)`. Use it as a decorator.

        `timeout` (seconds) and `max_attempts` default to the worker's settings. `backoff` is the
        delay in seconds before the second attempt, doubled for each later one, or a function that
        takes the attempt's number and returns the delay. `on_timeout` says what happens to a job
        that timed out. The worker validates `data` against the handler's annotation. Raises
        ValueError for a second handler of the same name or an invalid timeout, TypeError for a
        function that cannot be a handler.
        """

        def register(function: F) -> F:
            if name in self.handlers:
                raise ValueError(f"job {name!r} already has a handler: use another name")
            self.handlers[name] = Handler(
                name, function, timeout, max_attempts, backoff, on_timeout
            )
            return function

        return register

    def put(
        self,
        queue: str,
        job: str,
        data: Any = None,
        *,
        server: str = DEFAULT_SERVER,
        priority: int = DEFAULT_PRIORITY,
        delay: int = 0,
        ttr: int = DEFAULT_TTR,
        success: FollowUp | None = None,
        failure: FollowUp | None = None,
        id: str | None = None,  # noqa: A002 - the envelope's field
    ) -> Put:
        """Put one of this application's jobs, over a connection that stays open for later puts.

        `data` is validated as the worker will validate it. `delay` and `ttr` are whole seconds.
        Raises EnvelopeError for an unregistered job or invalid data, and PutError if the server
        cannot be reached or refuses the job.
        """
        handler = self.handlers.get(job)
        if handler is None:
            raise EnvelopeError(f"the job was not put: this app has no handler for the job {job!r}")
        raw = raw_data(data)
        try:
            handler.decode_data(raw)
        except (msgspec.MsgspecError, RecursionError, ValueError) as wrong:
            raise EnvelopeError(
                f"the job {job!r} was not put: its data is invalid: {describe_fault(wrong)}"
            ) from None
        producer = self._producers.setdefault(server, Producer(server))
        return producer.put(
            queue,
            job,
            raw,
            priority=priority,
            delay=delay,
            ttr=ttr,
            success=success,
            failure=failure,
            id=id,
        )

    def close(self) -> None:
        """Close the connections that `put` has opened, one for each server."""
        for producer in self._producers.values():
            producer.close()

    def resource(
        self, name: str, *, max_idle: float = 60.0
    ) -> Callable[
        [Callable[[], AbstractContextManager[Any]]], Callable[[], AbstractContextManager[Any]]
    ]:
        """Register a function that returns a context manager; handlers call `ctx.resource(name)`.

        The resource is opened at first use and kept open for later jobs. It is closed before a job
        if it was unused for `max_idle` seconds or longer, since idle connections go stale; with 0,
        before each job. Raises ValueError for a second resource of the same name.
        """

        def register(
            make: Callable[[], AbstractContextManager[Any]],
        ) -> Callable[[], AbstractContextManager[Any]]:
            if name in self.resources:
                raise ValueError(f"resource {name!r} is already registered: use another name")
            self.resources[name] = Resource(make, max_idle)
            return make

        return register

    def decoder(self, function: Decoder) -> Decoder:
        """Register a function that reads the jobs of another framework. Use it as a decorator.

        `function(body)` returns the Envelope of a job, or a ForeignEnvelope with limits. It returns
        None if the body is not of its format: then the next decoder is asked, and at last the body
        must be beanwatch's own envelope. If it raises EnvelopeError or another exception, the
        worker buries the job with this reason. Raises TypeError for a function that is not plain.
        """
        self.decoders.append(_check_plain(function, "decoder"))
        return function

    def before_job(self, hook: BeforeHook) -> BeforeHook:
        """Call `hook(ctx)` before each job. An exception in it counts as one in the handler.

        Raises TypeError for a hook that is not a plain function.
        """
        self.before.append(_check_plain(hook, "hook"))
        return hook

    def after_job(self, hook: AfterHook) -> AfterHook:
        """Call `hook(ctx, error)` after each job; `error` is the handler's exception or None.

        An exception in the hook is logged and counted, and does not change the job's outcome.
        Raises TypeError for a hook that is not a plain function.
        """
        self.after.append(_check_plain(hook, "hook"))
        return hook


def _would_not_run(function: Callable[..., object]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _check_plain(function: H, kind: str) -> H:
    if _would_not_run(function) or inspect.iscoroutinefunction(function):
        raise TypeError(
            f"{kind} {function!r} must be a plain function: "
            "a generator or coroutine would never run"
        )
    return function


def data_type(function: Callable[..., Any]) -> Any:
    """Return the annotation of a handler's second parameter, `data`; Any if it has none.

    Raises TypeError for fewer than two parameters or for annotations that cannot be evaluated.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) < 2:
        raise TypeError("it must take two parameters: (ctx, data)")
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"its annotations cannot be read: {error}") from None
    return hints.get(parameters[1].name, Any)
