"""A worker's metrics: what is measured of each run, and where it goes, by StatsD or Graphite."""

from typing import Protocol
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address, parse_address
from beanwatch.telemetry import series as paths
from beanwatch.worker.core.record import Run, Sink
from beanwatch.worker.telemetry.logs import get_logger

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


class Series:
    """The names of a worker's series, made once for each kind of job and outcome."""

    def __init__(self, prefix: str, worker: str, log: FilteringBoundLogger) -> None:
        self._prefix = prefix
        self._worker = worker
        self._log = log
        self._stems: dict[tuple[str, str], str] = {}
        self._owners: dict[str, tuple[str, str]] = {}

    def stem(self, run: Run) -> str:
        """`<prefix>.job.<queue>.<job>.<host>.<name>`."""
        kind = (run.queue, run.job)
        return self._stems.get(kind) or self._new(kind)

    def own(self, name: str) -> str:
        """`<prefix>.worker.<host>.<name>.<stat>`."""
        return paths.worker(self._prefix, self._worker, name)

    def _new(self, kind: tuple[str, str]) -> str:
        stem = paths.job(self._prefix, *kind, self._worker)
        other = self._owners.setdefault(stem, kind)
        if other != kind:
            self._log.warning(
                "{kind} and {other} share the series {series}: their counts are added up",
                kind=" ".join(kind),
                other=" ".join(other),
                series=stem,
            )
        self._stems[kind] = stem
        return stem


def timers(run: Run) -> list[str]:
    """The timers that a run feeds, in milliseconds: its fields of these names.

    A job's wait is that of its first run: later ones waited for a retry, on purpose.
    """
    found = [] if run.outcome in NOT_RUN else ["duration"]
    return [*found, "wait"] if run.attempt == 1 else found


class NoMetrics:
    """Where no metrics are wanted."""

    dropped = 0

    def gauge(self, name: str, value: float) -> None:
        """Nothing."""

    def count(self, name: str, n: int = 1) -> None:
        """Nothing."""

    def on_finished(self, run: Run) -> None:
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
