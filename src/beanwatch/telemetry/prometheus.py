"""Writes metrics as text that Prometheus scrapes: its own format, or OpenMetrics.

Formats: Prometheus "Exposition formats", version 0.0.4, and OpenMetrics 1.0. Rendering with the
package prometheus_client takes 30 times as long as joining lines of text.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from beanwatch.telemetry.series import GROUPS, Group

Number = int | float

PREFIX = "beanwatch_"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
VALUE = {ord("\\"): r"\\", ord("\n"): r"\n", ord('"'): r"\""}

# Families whose help is not that of one series of the table in `telemetry.series`.
OTHER_HELP = {
    "collector_poll_age_seconds": "time since the last poll of the server ended",
    "collector_queues_age_seconds": "time since the end of the last answered poll of the queues",
    "fleet_job_duration_seconds": "how long the runs of all workers took, by kind of job",
    "fleet_job_runs_total": "runs of all workers that have ended, by kind of job and outcome; "
    "a new kind has 0 for a minute, so that each Prometheus sees the rise",
    "job_duration_seconds": "how long the worker's runs took, by kind of job",
    "job_runs_total": "runs of the worker that have ended, by kind of job and outcome",
    "job_wait_seconds": "how long jobs were ready before the worker reserved them for the first "
    "time",
    "queue_consumers": "consumers of the queue: all that are connected, and those that are idle",
    "queue_consumer_state": "1 for the state of the queue's consumers, 0 for the other states",
    "queue_jobs": "jobs of the queue, by state",
    "server_info": "1, with the version of the server's program",
    "server_jobs": "jobs of all queues of the server, by state",
    "server_start_time_seconds": "when the server was started, in seconds since the epoch",
    "server_stat": "other numbers of the server, under its own names for them",
    "worker_busy_seconds_total": "time that the worker has spent in jobs",
    "worker_dropped_records_total": "ledger records and counts that could not be written to Redis",
    "worker_errors_total": "exceptions in the worker's sinks, hooks, ticks and closes",
    "worker_ignored_values_total": "values in envelopes that cannot be right, and were ignored",
    "worker_info": "1, with the id of the worker, and the versions of the application and of "
    "beanwatch",
    "worker_last_beat_timestamp_seconds": "when the worker's last heartbeat arrived, in seconds "
    "since the epoch",
    "worker_ready": "1 while the worker is connected to its queue server, else 0",
    "worker_start_time_seconds": "when the worker was started, in seconds since the epoch",
    "worker_state": "1 for the state of the worker, 0 for the other states",
}
# Families with buckets, a sum and a count.
HISTOGRAMS = ("fleet_job_duration_seconds", "job_duration_seconds", "job_wait_seconds")


class Family(NamedTuple):
    """All samples of one name, which lacks the prefix `beanwatch_` here."""

    name: str
    kind: str  # counter, gauge, info, histogram
    help: str

    @classmethod
    def named(cls, name: str) -> "Family":
        """Return the family with this name. Raises KeyError if no table has it."""
        kind = "counter" if name.endswith("_total") else "gauge"
        kind = "histogram" if name in HISTOGRAMS else kind
        return cls(name, "info" if name.endswith("_info") else kind, _HELP[name])


_HELP = {series.prometheus: series.help for group in GROUPS for series in group.series} | OTHER_HELP


def labels(**values: str) -> str:
    """Return labels as text, `server="q1",queue="a"`, with their values escaped."""
    return ",".join(f"{name}={quote(value)}" for name, value in values.items())


def quote(value: str) -> str:
    r"""Return the value of a label in double quotes, with `\`, `"` and line ends escaped."""
    if '"' in value or "\\" in value or "\n" in value:  # translate takes five times as long
        value = value.translate(VALUE)
    return f'"{value}"'


class Page:
    """Collects samples by family, and writes them as one text.

    The samples of a family must stand together, so they are kept until `text` is called.
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, labels: str, value: float) -> None:
        """Add a sample to the family `name`; `labels` are made by the function `labels`."""
        self._lines.setdefault(name, []).append(f"{PREFIX}{name}{{{labels}}} {value}\n")

    def add_histogram(
        self, name: str, labels: str, bounds: Sequence[float], counts: Sequence[int], total: float
    ) -> None:
        """Add a histogram. `counts` has the values in each bucket, and one more: those above.

        `total` is the sum of all values.
        """
        lines = self._lines.setdefault(name, [])
        below = 0
        for bound, number in zip((*bounds, "+Inf"), counts, strict=True):
            below += number
            lines.append(f'{PREFIX}{name}_bucket{{{labels},le="{bound}"}} {below}\n')
        lines.append(f"{PREFIX}{name}_sum{{{labels}}} {total}\n")
        lines.append(f"{PREFIX}{name}_count{{{labels}}} {below}\n")

    def add_all(
        self, group: Group, owners: Sequence[str], columns: Mapping[str, Sequence[Number | None]]
    ) -> None:
        """Add the samples of objects of one group, those that Prometheus gets.

        `owners` has their labels. A column has the values of one series, by its name in the group,
        in the same order; None: unknown. A page has thousands of queues, so this works family by
        family: that takes half as long as queue by queue.
        """
        for one in group.series:
            if not one.prometheus or one.is_state or one.name not in columns:
                continue
            head = f"{PREFIX}{one.prometheus}{{"
            tail = f",{labels(**dict([one.label]))}}} " if one.label else "} "
            self._lines.setdefault(one.prometheus, []).extend(
                [
                    f"{head}{owner}{tail}{value}\n"
                    for owner, value in zip(owners, columns[one.name], strict=True)
                    if value is not None
                ]
            )

    def add_one(self, group: Group, owner: str, values: Mapping[str, Number]) -> None:
        """Add the samples of one object; `owner` has its labels."""
        self.add_all(group, [owner], {name: [value] for name, value in values.items()})

    def add_states(self, name: str, states: Sequence[str], rows: Iterable[tuple[str, int]]) -> None:
        """Add a sample for each of `states` to the family `name`, for each row.

        A row has the labels, and the index of the present state, which gets 1; the others get 0.
        """
        ends = [f',state="{state}"}} ' for state in states]
        head = f"{PREFIX}{name}{{"
        # The text around the labels, for each state that may be present.
        around = [
            [head, *(f"{end}{int(at == present)}\n{head}" for at, end in enumerate(ends))]
            for present in range(len(states))
        ]
        for parts in around:
            parts[-1] = parts[-1].removesuffix(head)
        self._lines.setdefault(name, []).extend([owner.join(around[at]) for owner, at in rows])

    def text(self, *, openmetrics: bool = False) -> bytes:
        """Return the page in Prometheus's own format, or in OpenMetrics."""
        parts: list[str] = []
        for name, lines in self._lines.items():
            if not lines:
                continue
            family = Family.named(name)
            parts += _head(family, openmetrics)
            parts += lines
        if openmetrics:
            parts.append("# EOF\n")
        return "".join(parts).encode("utf-8", "replace")


def _head(family: Family, openmetrics: bool) -> Iterator[str]:
    """Yield the lines HELP and TYPE of a family."""
    name, kind = family.name, family.kind
    if openmetrics:  # there, the family's name is without the end of its samples' names
        name = name.removesuffix("_total").removesuffix("_info")
    elif kind == "info":
        kind = "gauge"
    yield f"# HELP {PREFIX}{name} {family.help}\n"
    yield f"# TYPE {PREFIX}{name} {kind}\n"


def wants_openmetrics(accept: str) -> bool:
    """Return True if a client with this Accept header prefers OpenMetrics to plain text."""
    best, is_open = 0.0, False
    for choice in accept.split(","):
        media, *parameters = (part.strip() for part in choice.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if media in ("application/openmetrics-text", "text/plain", "*/*") and weight > best:
            best, is_open = weight, media == "application/openmetrics-text"
    return is_open
