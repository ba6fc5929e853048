"""The instrumented beanstalkd worker and its handler API."""

from beanwatch.worker.app import App
from beanwatch.worker.context import Context
from beanwatch.worker.envelope import EnvelopeError, FollowUp
from beanwatch.worker.errors import (
    Bury,
    Discard,
    Interrupted,
    JobStopped,
    JobTimeout,
    Retry,
)
from beanwatch.worker.producer import Producer, Put, PutError

__all__ = [
    "App",
    "Bury",
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
    "Retry",
]
