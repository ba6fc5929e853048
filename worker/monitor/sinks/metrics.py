"""A worker's metrics: the paths of their series, and the choice of the sink that sends them."""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address, parse_address
from beanwatch.outcomes import OUTCOMES
from beanwatch.telemetry import series as paths
from beanwatch.telemetry.logging.setup import get_logger
from beanwatch.worker.monitor.runs import Run, Sink


class SinkKind(NamedTuple):
    """A kind of sink: its default port, and its module, which defines `make_sink`."""

    port: int
    module: str


# The kinds of sinks by URL scheme. To add one, write its module and add a line here.
SINKS = {
    "statsd": SinkKind(8125, "beanwatch.worker.monitor.sinks.statsd_sink"),
    "graphite": SinkKind(2003, "beanwatch.worker.monitor.sinks.graphite_sink"),
}
# Outcomes of jobs whose handler was not called: they have no duration.
NOT_RUN = frozenset(outcome.name for outcome in OUTCOMES if not outcome.was_run)


class Metrics(Sink, Protocol):
    """A sink that also receives the series that describe the worker itself (`series.WORKER`).

    `dropped` is the number of values that could not be sent.
    """

    @property
    def dropped(self) -> int: ...

    def gauge(self, name: str, value: float) -> None:
        """Set the worker's series `name` to a value of 0 or more.

        The value is sent repeatedly until another one is set.
        """

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to the worker's counter `name`, which starts at 0 with the process."""


class JobSeries(NamedTuple):
    """The series of one kind of job: the path before its outcomes, and the paths of its timers."""

    stem: str
    duration: str
    wait: str


class SeriesOwner(NamedTuple):
    """The names that all paths of one worker have in common.

    `prefix` is the first node, by default `beanwatch`. `server` is the node of the queue server.
    `worker` is the worker's id, `<host>.<name>`.
    """

    prefix: str
    server: str
    worker: str


class RunSeries:
    """Makes the paths of the series to which a run adds values; caches them by queue and job.

    `node` is the last node before the outcome: the worker's id, or `series.ALL_WORKERS`.
    """

    def __init__(self, owner: SeriesOwner, node: str, log: FilteringBoundLogger) -> None:
        self._owner = owner
        self._node = node
        self._log = log
        self._jobs: dict[tuple[str, str], JobSeries] = {}  # by queue and job
        self._owners: dict[str, tuple[str, str]] = {}  # the first queue and job with this stem

    def counter(self, run: Run) -> str:
        """Return the path of the counter to which a run adds 1.

        It is `<prefix>.job.<server>.<queue>.<job>.<worker>.<outcome>`.
        """
        return f"{self._of(run).stem}.{run.outcome}"

    def timings(self, run: Run) -> list[tuple[str, float]]:
        """Return the paths of a run's timers with their values in milliseconds.

        If the handler was not called, there is no duration. Only the first attempt has a wait: the
        wait of a retry is mostly its delay.
        """
        names = self._of(run)
        found = [] if run.outcome in NOT_RUN else [(names.duration, run.duration * 1000)]
        if run.attempt == 1 and run.wait is not None:
            found.append((names.wait, run.wait * 1000))
        return found

    def own(self, name: str) -> str:
        """Return the path of a series of the worker itself: `<prefix>.worker.<host>.<name>.<stat>`.

        The argument `name` is the stat: the name of a series of `series.WORKER`.
        """
        return paths.worker(self._owner.prefix, self._owner.worker, name)

    def _of(self, run: Run) -> JobSeries:
        kind = (run.queue, run.job)
        return self._jobs.get(kind) or self._name(kind)

    def _name(self, kind: tuple[str, str]) -> JobSeries:
        stem = paths.job(self._owner.prefix, self._owner.server, *kind, self._node)
        other = self._owners.setdefault(stem, kind)
        if other != kind:
            self._log.warning(
                "the jobs {kind} and {other} share the series {series}: their counts are added up",
                kind=" ".join(kind),
                other=" ".join(other),
                series=stem,
            )
        self._jobs[kind] = made = JobSeries(stem, f"{stem}.duration", f"{stem}.wait")
        return made


class NoMetrics:
    """The sink of a worker for which no metrics are configured: it sends nothing."""

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

    StatsD adds up the runs of all workers, unless `per_worker` gives each worker separate series.
    Graphite cannot add up, so there each worker always has separate series. `interval` (seconds) is
    the finest step of Graphite's storage schema. Raises ValueError for an invalid URL.
    """
    if not url:
        return NoMetrics()
    scheme, address = parse_metrics(url)
    make: Callable[..., Metrics] = import_module(SINKS[scheme].module).make_sink
    log = log or get_logger()
    is_separate = per_worker or scheme == "graphite"
    series = RunSeries(owner, owner.worker if is_separate else paths.ALL_WORKERS, log)
    return make(address, series, log, interval)


def parse_metrics(url: str) -> tuple[str, Address]:
    """Parse the URL of a sink into its scheme (a key of SINKS) and address. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in SINKS:
        raise ValueError(
            f"metrics URL {url!r}: expected statsd://HOST:8125 or graphite://HOST:2003"
        )
    return parts.scheme, parse_address(parts.netloc, SINKS[parts.scheme].port)
