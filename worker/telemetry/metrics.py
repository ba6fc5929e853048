"""A worker's metrics: the series of each run, and the sinks that send them."""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address, parse_address
from beanwatch.outcomes import OUTCOMES
from beanwatch.telemetry import series as paths
from beanwatch.telemetry.logging.setup import get_logger
from beanwatch.worker.core.record import Run, Sink


class SinkKind(NamedTuple):
    """The default port and the module of a sink. The module defines `make_sink`."""

    port: int
    module: str


# The sinks by the scheme of their URL. A new sink is a file and a line here.
SINKS = {
    "statsd": SinkKind(8125, "beanwatch.worker.telemetry.statsd_sink"),
    "graphite": SinkKind(2003, "beanwatch.worker.telemetry.graphite_sink"),
}
# Outcomes of jobs that were not run: there is no duration to tell.
NOT_RUN = frozenset(outcome.name for outcome in OUTCOMES if not outcome.was_run)


class Metrics(Sink, Protocol):
    """A sink that also takes the worker's own series."""

    def gauge(self, name: str, value: float) -> None:
        """Set one of the worker's own series (`series.WORKER`) to a value of 0 or more.

        The value is sent repeatedly until another one is set.
        """

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to one of the worker's own counters, which start at 0 with the process."""


class JobSeries(NamedTuple):
    """The paths of one kind of job: the stem of its counters, and its two timers."""

    stem: str
    duration: str
    wait: str


class SeriesOwner(NamedTuple):
    """The owner of the series, whose names are the first nodes of their paths.

    `server` is the node of the queue server. `worker` is the worker's id.
    """

    prefix: str
    server: str
    worker: str


class RunSeries:
    """The series that a run changes. Paths are made once for each kind of job.

    `node` is the worker's node in the paths of jobs: its own, or `series.ALL_WORKERS`.
    """

    def __init__(self, owner: SeriesOwner, node: str, log: FilteringBoundLogger) -> None:
        self._owner = owner
        self._node = node
        self._log = log
        self._jobs: dict[tuple[str, str], JobSeries] = {}  # by queue and job
        self._owners: dict[str, tuple[str, str]] = {}  # queue and job, by stem

    def counter(self, run: Run) -> str:
        """Return the path of the counter that a run adds 1 to.

        It is `<prefix>.job.<server>.<queue>.<job>.<worker>.<outcome>`.
        """
        return f"{self._of(run).stem}.{run.outcome}"

    def timings(self, run: Run) -> list[tuple[str, float]]:
        """Return the paths of a run's timers with their values in milliseconds.

        A job whose handler was not called has no duration. Only the first attempt has a wait,
        since later attempts waited for their retry delay.
        """
        names = self._of(run)
        found = [] if run.outcome in NOT_RUN else [(names.duration, run.duration * 1000)]
        if run.attempt == 1:
            found.append((names.wait, run.wait * 1000))
        return found

    def own(self, name: str) -> str:
        """Return the path `<prefix>.worker.<host>.<name>.<stat>`."""
        return paths.worker(self._owner.prefix, self._owner.worker, name)

    def _of(self, run: Run) -> JobSeries:
        kind = (run.queue, run.job)
        return self._jobs.get(kind) or self._name(kind)

    def _name(self, kind: tuple[str, str]) -> JobSeries:
        stem = paths.job(self._owner.prefix, self._owner.server, *kind, self._node)
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
    """The sink that sends nothing."""

    dropped = 0

    def gauge(self, name: str, value: float) -> None:
        """Do nothing: no metrics are configured."""

    def count(self, name: str, n: int = 1) -> None:
        """Do nothing: no metrics are configured."""

    def on_finished(self, run: Run) -> None:
        """Do nothing: no metrics are configured."""

    def tick(self) -> None:
        """Do nothing: no metrics are configured."""

    def close(self, timeout: float) -> None:
        """Do nothing: no metrics are configured."""


def make_metrics(
    url: str,
    owner: SeriesOwner,
    *,
    per_worker: bool = False,
    interval: float = 10.0,
    log: FilteringBoundLogger | None = None,
) -> Metrics:
    """Make the sink for `statsd://host[:8125]` or `graphite://host[:2003]`; "" sends nothing.

    StatsD adds up the runs of all workers, unless `per_worker` gives each worker its own series.
    Graphite cannot add up, so each worker always has its own series there. `interval` (seconds) is
    the finest step of the storage schema. Raises ValueError for another URL.
    """
    if not url:
        return NoMetrics()
    scheme, address = parse_metrics(url)
    make: Callable[..., Metrics] = import_module(SINKS[scheme].module).make_sink
    log = log or get_logger()
    is_own = per_worker or scheme == "graphite"
    series = RunSeries(owner, owner.worker if is_own else paths.ALL_WORKERS, log)
    return make(address, series, log, interval)


def parse_metrics(url: str) -> tuple[str, Address]:
    """Parse the URL of a sink into its scheme, one of SINKS, and its address. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in SINKS:
        raise ValueError(f"metrics {url!r}: expected statsd://host:8125 or graphite://host:2003")
    return parts.scheme, parse_address(parts.netloc, SINKS[parts.scheme].port)
