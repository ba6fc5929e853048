"""The public API for programs that put jobs, handle them in a worker, or report their own jobs."""

from beanwatch.worker.api.app import App
from beanwatch.worker.api.context import Context
from beanwatch.worker.api.decoders import ForeignEnvelope
from beanwatch.worker.api.envelope import Envelope, EnvelopeError, FollowUp
from beanwatch.worker.api.errors import (
    Bury,
    Discard,
    Interrupted,
    JobStopped,
    JobTimeout,
    Retry,
)
from beanwatch.worker.api.monitor import WorkerMonitor
from beanwatch.worker.api.producer import Producer, Put, PutError
from beanwatch.worker.control.commands import CommandRequest
from beanwatch.worker.core.connection import ConnectionLostError, RefusedError
from beanwatch.worker.monitor.program.monitored_run import MonitoredRun

__all__ = [
    "App",
    "Bury",
    "CommandRequest",
    "ConnectionLostError",
    "Context",
    "Discard",
    "Envelope",
    "EnvelopeError",
    "FollowUp",
    "ForeignEnvelope",
    "Interrupted",
    "JobStopped",
    "JobTimeout",
    "MonitoredRun",
    "Producer",
    "Put",
    "PutError",
    "RefusedError",
    "Retry",
    "WorkerMonitor",
]
