"""Exceptions that a handler may raise, and exceptions that the worker raises in a handler."""

from beanwatch.worker.monitor.exceptions import OwnText


class Retry(OwnText, Exception):  # noqa: N818 - not an error but a request
    """Raise this in a handler to release the job, so that it runs again after `delay` seconds.

    With None, the job's backoff gives the delay. The current run counts as an attempt.
    """

    def __init__(self, delay: float | None = None, reason: str = "") -> None:
        super().__init__(reason or "the handler asked for a retry")
        self.delay = delay


class Bury(OwnText, Exception):  # noqa: N818 - not an error but a request
    """Raise this in a handler to bury the job now, even if attempts are left."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler asked to bury the job")


class Discard(OwnText, Exception):  # noqa: N818 - not an error but a request
    """Raise this in a handler to delete a job that has failed and must not be retried."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler asked to delete the job")


class Interrupted(OwnText, BaseException):
    """Raised in a handler that must end. The handler may clean up, but must not swallow it.

    It is not an Exception, so a handler's `except Exception` does not catch it.
    """


class JobTimeout(Interrupted):
    """Raised in a handler whose timeout has passed. After `grace` more seconds the worker exits."""


class JobStopped(Interrupted):
    """Raised in a handler when the worker must stop now. The job is released to other workers."""


class WorkerError(Exception):
    """Raised if the worker cannot start. The text gives the reason; `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class AppError(Exception):
    """Raised if the application cannot be imported, or is no App. The text is one line."""
