"""What a handler may raise, and what the worker raises into a handler."""


class Retry(Exception):  # noqa: N818 - an order, no error
    """Raise in a handler to have the job again later: `delay` seconds, else by its backoff.

    It counts as an attempt.
    """

    def __init__(self, delay: float | None = None, reason: str = "") -> None:
        super().__init__(reason or "the handler asked for a retry")
        self.delay = delay


class Bury(Exception):  # noqa: N818 - an order, no error
    """Raise in a handler to have the job buried now, whatever attempts are left."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler asked to bury it")


class Discard(Exception):  # noqa: N818 - an order, no error
    """Raise in a handler to have the job deleted without it having succeeded."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler discarded it")


class Interrupted(BaseException):
    """The worker ends the handler; clean up and let it pass.

    No Exception, so that a handler's own `except Exception` around a retry does not eat it.
    """


class JobTimeout(Interrupted):
    """The job's timeout has passed; at the hard deadline, `grace` seconds later, it is killed."""


class JobStopped(Interrupted):
    """The worker must stop now; the job goes back to its queue for another worker."""


class WorkerError(Exception):
    """The worker cannot start or go on; one line that says why, and the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
