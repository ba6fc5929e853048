"""The public API for programs that put jobs into beanstalkd or handle them in a worker."""

from beanwatch.worker.api.app import App
from beanwatch.worker.api.context import Context
from beanwatch.worker.api.envelope import EnvelopeError, FollowUp
from beanwatch.worker.api.errors import (
    Bury,
    Discard,
    Interrupted,
    JobStopped,
    JobTimeout,
    Retry,
)
from beanwatch.worker.api.producer import Producer, Put, PutError
from beanwatch.worker.core.connection import ConnectionLostError, RefusedError

__all__ = [
    "App",
    "Bury",
    "ConnectionLostError",
    "Context",
    "Discard",
    "EnvelopeError",
    "FollowUp",
    "Interrupted",
    "JobStopped",
    "JobTimeout",
    "Producer",
    "Put",
    "PutError",
    "RefusedError",
    "Retry",
]
