"""check_metrics_fresh: are new points arriving in Graphite?"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlencode

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib.output import perf
from beanwatch.checks.lib.plugin import (
    READING_SHARE,
    STATES,
    Check,
    Critical,
    Failure,
    FailureContext,
    Finding,
    Metric,
    State,
    Unknown,
    judge,
)
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, UsageError, pick_limits, run
from beanwatch.config import Config, GraphiteConfig, Threshold
from beanwatch.durations import format_duration
from beanwatch.globs import GLOB
from beanwatch.light_typing import Any, NamedTuple
from beanwatch.net.http import HttpError, get
from beanwatch.telemetry.series import collector

DEFAULT_LIMITS = Threshold(warning="120", critical="300")  # seconds
WINDOW = 3600  # seconds to look back; Graphite still has these points at their finest step

# Gets patterns of series and a window in seconds. Returns the JSON of the render API, or raises
# HttpError.
Fetch = Callable[[Sequence[str], int], bytes]


class Series(NamedTuple):
    """One series, and the age of its newest point in seconds; None if the window has no point.

    The age is by Graphite's clock, in whole storage steps: the clock of this host may be wrong.
    """

    name: str
    age: float | None


def parser() -> Parser:
    """Make the command-line parser of check_metrics_fresh."""
    parser = Parser("metrics_fresh", __doc__, "--graphite-url http://graphite:8080 -w 120 -c 300")
    parser.add_argument(
        "--graphite-url",
        metavar="URL",
        help="URL of Graphite (default: graphite.url of the configuration, or "
        f"{GraphiteConfig().url})",
    )
    parser.add_argument(
        "--prefix", help="first part of all series' names (default: prefix of the configuration)"
    )
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="PATTERN",
        help="series to check, or a pattern; repeatable (default: for each server of the "
        "configuration, the collector's series success)",
    )
    parser.add_argument(
        "--missing",
        choices=STATES,
        default="critical",
        help="state to report if Graphite has no such series (default: critical)",
    )
    parser.add_limits()
    return parser


# -- acquire


class Graphite(Resource):  # type: ignore[misc]
    """Asks Graphite for the newest point of every series that matches the patterns."""

    def __init__(self, patterns: Sequence[str], fetch: Fetch) -> None:
        self._patterns, self._fetch = patterns, fetch

    def probe(self) -> Iterator[Metric]:
        """Yield a metric for each series, and for each pattern without one; or a Failure.

        A pattern with wildcards is reported as missing only if Graphite returned no series at all.
        """
        try:
            series = parse_series(self._fetch(self._patterns, WINDOW))
        except HttpError as error:
            timed_out = isinstance(error.__cause__, TimeoutError)
            yield Metric(
                "graphite",
                Failure(f"cannot read Graphite: {error}", timed_out=timed_out),
                context="failure",
            )
            return
        for one in series:
            yield Metric(one.name, one, context="series")
        names = {one.name for one in series}
        for pattern in self._patterns:
            if pattern not in names and (not names or not GLOB.search(pattern)):
                yield Metric(pattern, pattern, context="missing")


def parse_series(body: bytes) -> list[Series]:
    """Parse the JSON of Graphite's render API. Raises HttpError if `body` is anything else."""
    try:
        return [
            Series(str(one["target"]), newest_age(one["datapoints"])) for one in json.loads(body)
        ]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise HttpError("the reply is not the JSON of its render API; is the URL right?") from None


def newest_age(datapoints: Sequence[tuple[float | None, float]]) -> float | None:
    """Return the age in seconds of the newest point that has a value; None if no point has one.

    A point is `(value, seconds since the epoch)`. The reply has one for each storage step, up to
    the present by Graphite's clock, so its last point tells this time. Raises ValueError.
    """
    stamps = [int(stamp) for value, stamp in datapoints if value is not None]
    return float(int(datapoints[-1][1]) - max(stamps)) if stamps else None


# -- evaluate


def decide(series: Series, limits: Threshold) -> tuple[State, str]:
    """Judge the age of the newest point of a series."""
    if series.age is None:
        return Critical, f"{series.name}: no point for more than {format_duration(WINDOW)}"
    state, limit = judge(series.age, limits)
    text = f"{series.name}: the newest point is {format_duration(series.age)} old"
    return state, f"{text} ({limit} s)" if limit else text


class SeriesContext(Context):  # type: ignore[misc]
    """Judges one series by the age of its newest point."""

    def __init__(self, limits: Threshold) -> None:
        super().__init__("series")
        self._limits = limits

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return the state of the series; CRITICAL if the window has no point of it."""
        return Finding(*decide(metric.value, self._limits), metric)

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str:
        """Format the age of the newest point (seconds) as performance data."""
        series: Series = metric.value
        return perf(series.name, series.age, "s", self._limits)


class MissingContext(Context):  # type: ignore[misc]
    """Judges a pattern for which Graphite has no series."""

    def __init__(self, state: State) -> None:
        super().__init__("missing")
        self._state = state

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return the state that `--missing` names."""
        return Finding(self._state, f"Graphite has no series {metric.value}", metric)


class FreshSummary(Summary):  # type: ignore[misc]
    """Presents series without a problem."""

    def ok(self, results: Any) -> str:
        """Return a text such as `2 series, the newest point of each at most 8s old`."""
        ages = [r.metric.value.age or 0.0 for r in results if isinstance(r.metric.value, Series)]
        if len(ages) < 2:
            return str(results[0])
        oldest = format_duration(max(ages))
        return f"{len(ages)} series, the newest point of each at most {oldest} old"


def list_nodes(config: Config) -> list[str]:
    """Return the names of the configured servers in series; `*` if none is configured."""
    if not config.servers:
        return ["*"]
    from beanwatch.queues.servers import resolve_servers  # takes time to import

    return [server.node for server in resolve_servers(config.servers)]


def build(options: argparse.Namespace, config: Config, fetch: Fetch) -> Check:
    """Make the check from its resource, its contexts and its summary."""
    limits = pick_limits(options, config, "metrics_fresh", DEFAULT_LIMITS)
    prefix = options.prefix or config.prefix
    patterns = options.metric or [collector(prefix, node, "success") for node in list_nodes(config)]
    return Check(
        "metrics_fresh",
        Graphite(patterns, fetch),
        SeriesContext(limits),
        MissingContext(STATES[options.missing]),
        FailureContext(Unknown, options.timeout_state),
        FreshSummary(),
    )


def with_live_graphite(options: argparse.Namespace, config: Config, output: PluginOutput) -> Check:
    """Make the check that asks Graphite over HTTP. Raises UsageError if Graphite is off."""
    url = options.graphite_url or config.graphite.url
    if not url:
        raise UsageError(
            "Graphite is off, because graphite.url is empty; name one with --graphite-url http://HOST"
        )

    def fetch(patterns: Sequence[str], window: int) -> bytes:
        output.current_step = "asking Graphite"
        query = [("target", pattern) for pattern in patterns]
        query += [("format", "json"), ("from", f"-{window}s"), ("noCache", "1")]
        return get(f"{url.rstrip('/')}/render?{urlencode(query)}", options.timeout * READING_SHARE)

    return build(options, config, fetch)


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), with_live_graphite)
