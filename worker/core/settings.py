"""Defines the settings of one worker, from the command line and the configuration file."""

import re
from typing import NamedTuple

from beanwatch.config import WorkerConfig
from beanwatch.net.address import Address
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.worker.monitor.reports import ReportSettings
from beanwatch.worker.monitor.sinks.metrics import SeriesOwner

WORKER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Settings(NamedTuple):
    """Holds a worker's name, host, servers and queues, and the options of section [worker]."""

    name: str
    host: str
    address: Address
    server_node: str  # the part of metric paths that names the queue server
    queues: tuple[str, ...]
    redis_url: str  # empty: no heartbeats and no ledger
    redis_password: str
    prefix: str
    is_expected: bool
    command_secret: bytes  # b"": commands need no signature
    options: WorkerConfig
    listen: Address | None = None  # where the worker serves its metrics; None: nowhere
    # A command that exits with 2 or 13 if a worker with these settings cannot start; (): none.
    check_command: tuple[str, ...] = ()

    @property
    def worker(self) -> str:
        """Return the worker's id: `HOST.NAME`."""
        return f"{self.host}.{self.name}"


def make_report_settings(settings: Settings) -> ReportSettings:
    """Return where this worker reports to. Raises ValueError for a wrong URL of Redis."""
    url, options = settings.redis_url, settings.options
    return ReportSettings(
        SeriesOwner(settings.prefix, settings.server_node, settings.worker),
        parse_redis_url(url, settings.redis_password) if url else None,
        settings.is_expected,
        options.metrics,
        options.metrics_per_worker,
        options.ledger,
        str(settings.address),
    )
