"""The exceptions that a handler may raise, and those that the worker raises in a handler."""


class Retry(Exception):  # noqa: N818 - not an error but a request
    """Raise in a handler to run the job again in `delay` seconds; None: after its backoff.

    This run counts as an attempt.
    """

    def __init__(self, delay: float | None = None, reason: str = "") -> None:
        super().__init__(reason or "the handler asked for a retry")
        self.delay = delay


class Bury(Exception):  # noqa: N818 - not an error but a request
    """Raise in a handler to bury the job now, even if attempts are left."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler asked to bury it")


class Discard(Exception):  # noqa: N818 - not an error but a request
    """Raise in a handler to delete the job, which has not succeeded."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler discarded it")


class Interrupted(BaseException):
    """Raised in a handler that must end: clean up, and let the exception through.

    Not an Exception, so that a handler's `except Exception` does not catch it.
    """


class JobTimeout(Interrupted):
    """The job's timeout has passed. `grace` seconds later, at its hard deadline, it is killed."""


class JobStopped(Interrupted):
    """The worker must stop now. The job goes back to its queue, for another worker."""


class WorkerError(Exception):
    """The worker cannot start. The text gives the reason in one line; `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
