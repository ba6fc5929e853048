"""A worker's metrics: what is measured of each run, and where it goes, by StatsD or Graphite."""

from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address, parse_address
from beanwatch.telemetry import series as paths
from beanwatch.telemetry.logging.setup import get_logger
from beanwatch.worker.core.record import Run, Sink

STATSD_PORT, GRAPHITE_PORT = 8125, 2003
# Outcomes of jobs that were not run: there is no duration to tell.
NOT_RUN = frozenset(("poison", "invalid"))


class Metrics(Sink, Protocol):
    """A sink that takes the worker's own series too."""

    def gauge(self, name: str, value: float) -> None:
        """Set one of the worker's own series (`paths.WORKER_OWN`); 0 or more.

        Sent again and again, until it is set anew.
        """

    def count(self, name: str, n: int = 1) -> None:
        """Add to one of the worker's own totals, which count from the start of the process."""


class JobSeries(NamedTuple):
    """The series of one kind of job: the stem of its counters, and its timers."""

    stem: str
    duration: str
    wait: str


class Series:
    """What a run adds to which series. The names are made once for each kind of job."""

    def __init__(self, prefix: str, worker: str, log: FilteringBoundLogger) -> None:
        self._prefix = prefix
        self._worker = worker
        self._log = log
        self._jobs: dict[tuple[str, str], JobSeries] = {}  # by queue and job
        self._owners: dict[str, tuple[str, str]] = {}  # queue and job, by stem

    def counter(self, run: Run) -> str:
        """The counter of such runs: `<prefix>.job.<queue>.<job>.<host>.<name>.<outcome>`."""
        return f"{self._of(run).stem}.{run.outcome}"

    def timings(self, run: Run) -> list[tuple[str, float]]:
        """The timers that a run feeds, and their values in milliseconds.

        A job that did not run has no duration. Its wait is that of the first run: later ones
        waited for a retry, on purpose.
        """
        names = self._of(run)
        found = [] if run.outcome in NOT_RUN else [(names.duration, run.duration * 1000)]
        if run.attempt == 1:
            found.append((names.wait, run.wait * 1000))
        return found

    def own(self, name: str) -> str:
        """`<prefix>.worker.<host>.<name>.<stat>`."""
        return paths.worker(self._prefix, self._worker, name)

    def _of(self, run: Run) -> JobSeries:
        kind = (run.queue, run.job)
        return self._jobs.get(kind) or self._name(kind)

    def _name(self, kind: tuple[str, str]) -> JobSeries:
        stem = paths.job(self._prefix, *kind, self._worker)
        other = self._owners.setdefault(stem, kind)
        if other != kind:
            self._log.warning(
                "{kind} and {other} share the series {series}: their counts are added up",
                kind=" ".join(kind),
                other=" ".join(other),
                series=stem,
            )
        self._jobs[kind] = made = JobSeries(stem, f"{stem}.duration", f"{stem}.wait")
        return made


class NoMetrics:
    """Where no metrics are wanted."""

    dropped = 0

    def gauge(self, name: str, value: float) -> None:
        """Nothing."""

    def count(self, name: str, n: int = 1) -> None:
        """Nothing."""

    def settle(self, run: Run) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""

    def close(self, timeout: float) -> None:
        """Nothing."""


def make_metrics(
    url: str,
    prefix: str,
    worker: str,
    *,
    interval: float = 10.0,
    log: FilteringBoundLogger | None = None,
) -> Metrics:
    """The sink for `statsd://host[:8125]`, `graphite://host[:2003]`, or none for an empty URL.

    `interval` (seconds) is the finest step of the storage schema: by Graphite a point a
    step is sent; StatsD has a flush interval of its own. Raises ValueError for another URL.
    """
    if not url:
        return NoMetrics()
    log = log or get_logger()
    series = Series(prefix, worker, log)
    scheme, address = parse_metrics(url)
    if scheme == "statsd":
        from beanwatch.worker.telemetry.statsd_sink import StatsdSink

        return StatsdSink(address, series, log)
    from beanwatch.worker.telemetry.graphite_sink import GraphiteSink

    return GraphiteSink(address, series, log, interval=interval)


def parse_metrics(url: str) -> tuple[str, Address]:
    """The scheme, statsd or graphite, and where to. Raises ValueError."""
    parts = urlsplit(url)
    port = {"statsd": STATSD_PORT, "graphite": GRAPHITE_PORT}.get(parts.scheme)
    if port is None:
        raise ValueError(f"metrics {url!r}: expected statsd://host:8125 or graphite://host:2003")
    return parts.scheme, parse_address(parts.netloc, port)
