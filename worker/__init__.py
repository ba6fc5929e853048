"""The public API for programs that put jobs, handle them in a worker, or report their own jobs.

Each name is imported when it is first used: most commands need one small part of this package.
"""

from importlib import import_module

from beanwatch.light_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "App": "api.app",
    "CommandRequest": "control.commands",
    "ConnectionLostError": "core.connection",
    "Context": "api.context",
    "Envelope": "api.envelope",
    "EnvelopeError": "api.envelope",
    "FollowUp": "api.envelope",
    "ForeignEnvelope": "api.decoders",
    "MonitoredRun": "monitor.program.monitored_run",
    "Producer": "api.producer",
    "Put": "api.producer",
    "PutError": "api.producer",
    "RefusedError": "core.connection",
    "WorkerMonitor": "api.monitor",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'api.errors')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return __all__
