"""The settings of a WorkerMonitor: from its arguments, else from the configuration file."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.config.reader import load
from beanwatch.config.secrets import read_redis_password, read_signing_secret
from beanwatch.durations import ENDLESS, finite
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.queues.servers import short_host
from beanwatch.telemetry.logging.output import STDERR, LogOutput
from beanwatch.telemetry.logging.setup import make_logger, pick_processors
from beanwatch.worker.monitor.reports import Reports, ReportSettings, make_reports
from beanwatch.worker.monitor.sinks.metrics import SeriesOwner

WORKER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Seconds after which a job counts as hung, if neither the program nor the configuration has a limit
LONGEST_JOB = 3600.0


class MonitorSettings(NamedTuple):
    """The settings of the monitor of one process. Durations are in seconds."""

    host: str
    name: str
    kind: str
    queues: tuple[str, ...]
    server: str
    reports: ReportSettings
    expected: frozenset[str]  # ids of workers
    log_format: str
    log_file: str  # "": standard error
    interval: float
    job_timeout: float  # 0: none
    max_idle: float  # 0: the loop is not judged
    has_own_loop: bool
    app_version: str
    commands: tuple[str, ...]  # those that it carries out
    secret: bytes  # b"": commands need no signature

    @property
    def worker(self) -> str:
        """The worker's id: `HOST.NAME`."""
        return f"{self.host}.{self.name}"

    def for_child(self, slot: int, max_idle: float, commands: tuple[str, ...]) -> "MonitorSettings":
        """Return the settings of a forked child: it is a worker of its own."""
        name = f"{self.name[:58]}-{slot}"
        worker = f"{self.host}.{name}"
        reports = self.reports._replace(
            owner=self.reports.owner._replace(worker=worker), is_expected=worker in self.expected
        )
        return self._replace(
            name=name,
            reports=reports,
            max_idle=finite(max_idle) or 0.0,
            has_own_loop=False,
            commands=commands if self.commands else (),
        )

    def open_log(self) -> LogOutput:
        """Open the log file. Raises OSError."""
        output = LogOutput(self.log_file, pick_processors(self.log_format), stream=STDERR)
        output.start_on_new_lines()  # the program prints there, too
        return output

    def make_reports(self, instance: str, output: LogOutput) -> Reports:
        """Make the objects through which this process reports."""
        return make_reports(self.reports, instance, self.make_log(instance, output), output)

    def make_log(self, instance: str, output: LogOutput) -> FilteringBoundLogger:
        """Return a logger of this process; the program's own logging stays as it is."""
        return make_logger(
            output, self.log_format, worker=self.worker, instance=instance, kind=self.kind
        )


class MonitorOptions(NamedTuple):
    """The arguments of a WorkerMonitor. None: take the value of the configuration."""

    kind: str
    redis: str | None
    host: str | None
    server: str
    config: str | None  # path of the file
    metrics: str | None
    log_file: str | None
    interval: float | None
    job_timeout: float | None
    max_idle: float
    has_own_loop: bool
    app_version: str


def make_settings(
    name: str, queues: Sequence[str], options: MonitorOptions, commands: tuple[str, ...]
) -> MonitorSettings:
    """Read the configuration. Raises ConfigError, and ValueError for a wrong argument."""
    host = short_host() if options.host is None else options.host
    for what, word in (("name", name), ("host", host), ("kind", options.kind)):
        if not WORKER_NAME.fullmatch(word):
            raise ValueError(f"{what} {word!r}: expected 1 to 64 characters of A-Z a-z 0-9 _ -")
    for what, seconds in (("job_timeout", options.job_timeout), ("max_idle", options.max_idle)):
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"{what} {seconds!r}: expected 0 or more seconds")
    if options.interval is not None and not 0 < options.interval < ENDLESS:
        limits = f"more than 0 and less than {ENDLESS:.0e} seconds"
        raise ValueError(f"interval {options.interval!r}: expected {limits}")
    config = load(options.config)
    given = config.worker
    url = config.redis.url if options.redis is None else options.redis
    limit = given.job_timeout if "worker.job_timeout" in config.given else LONGEST_JOB
    worker = f"{host}.{name}"
    reports = ReportSettings(
        SeriesOwner(config.prefix, options.server or options.kind, worker),
        parse_redis_url(url, read_redis_password(config.redis)) if url else None,
        worker in config.expected_workers,
        given.metrics if options.metrics is None else options.metrics,
        given.metrics_per_worker,
        given.ledger,
    )
    return MonitorSettings(
        host=host,
        name=name,
        kind=options.kind,
        queues=tuple(dict.fromkeys(queues)),
        server=options.server,
        reports=reports,
        expected=frozenset(config.expected_workers),
        log_format=config.log_format,
        log_file=config.log_file if options.log_file is None else options.log_file,
        interval=given.heartbeat_interval if options.interval is None else options.interval,
        job_timeout=limit if options.job_timeout is None else options.job_timeout,
        max_idle=finite(options.max_idle) or 0.0,
        has_own_loop=options.has_own_loop,
        app_version=options.app_version,
        commands=commands if url else (),
        secret=read_signing_secret(config),
    )
