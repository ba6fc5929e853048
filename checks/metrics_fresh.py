"""check_metrics_fresh: are new points arriving in Graphite?"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
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
from beanwatch.config import GLOB, Config, Threshold
from beanwatch.durations import format_duration
from beanwatch.net.http import HttpError, get
from beanwatch.telemetry.series import collector

DEFAULT_LIMITS = Threshold(warning="120", critical="300")
WINDOW = 3600  # seconds back; Graphite has points of that age at their finest step
# Seconds by which a collector's clock may be ahead of ours: its points are in our future.
MAX_CLOCK_AHEAD = 60

Fetch = Callable[[Sequence[str], int], bytes]


class Series(NamedTuple):
    """One series, and the age in seconds of its newest point; None if there is none."""

    name: str
    age: float | None


def parser() -> Parser:
    """The command line."""
    parser = Parser("metrics_fresh", __doc__, "--graphite-url http://graphite:8080 -w 120 -c 300")
    parser.add_argument("--graphite-url", metavar="URL", help="the render API")
    parser.add_argument("--prefix", help="of all metrics (default: that of the configuration)")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="PATTERN",
        help="series to look at; repeatable (default: each collector's own, for each server)",
    )
    parser.add_argument(
        "--missing",
        choices=STATES,
        default="critical",
        help="state when Graphite has no such series (default: critical)",
    )
    parser.add_limits()
    return parser


# -- acquire


class Graphite(Resource):  # type: ignore[misc]
    """The newest point of every series that the patterns match."""

    def __init__(
        self, patterns: Sequence[str], fetch: Fetch, clock: Callable[[], float] = time.time
    ) -> None:
        self._patterns, self._fetch, self._clock = patterns, fetch, clock

    def probe(self) -> Iterator[Metric]:
        """Ask the render API, or say why that is not possible."""
        try:
            series = parse_series(self._fetch(self._patterns, WINDOW), self._clock())
        except HttpError as error:
            timed_out = isinstance(error.__cause__, TimeoutError)
            yield Metric(
                "graphite", Failure(f"graphite {error}", timed_out=timed_out), context="failure"
            )
            return
        for one in series:
            yield Metric(one.name, one, context="series")
        names = {one.name for one in series}
        for pattern in self._patterns:
            if pattern not in names and (not names or not GLOB.search(pattern)):
                yield Metric(pattern, pattern, context="missing")


def parse_series(body: bytes, now: float) -> list[Series]:
    """The answer of the render API in JSON. Raises HttpError when it is none."""
    try:
        return [
            Series(str(one["target"]), newest(one["datapoints"], now)) for one in json.loads(body)
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise HttpError("does not answer as its render API does") from None


def newest(datapoints: Sequence[tuple[float | None, float]], now: float) -> float | None:
    """The age of the newest point that has a value."""
    stamps = [float(stamp) for value, stamp in datapoints if value is not None]
    return max(0.0, now - max(stamps)) if stamps else None


# -- evaluate


def decide(series: Series, limits: Threshold) -> tuple[State, str]:
    """The state, and for how long nothing has come."""
    if series.age is None:
        return Critical, f"{series.name}: no point for more than {format_duration(WINDOW)}"
    state, limit = judge(series.age, limits)
    text = f"{series.name}: the newest point is {format_duration(series.age)} old"
    return state, f"{text} ({limit} s)" if limit else text


class SeriesContext(Context):  # type: ignore[misc]
    """Judges one series."""

    def __init__(self, limits: Threshold) -> None:
        super().__init__("series")
        self._limits = limits

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """The state by the age of its newest point."""
        return Finding(*decide(metric.value, self._limits), metric)

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str:
        """The age."""
        series: Series = metric.value
        return perf(series.name, series.age, "s", self._limits)


class MissingContext(Context):  # type: ignore[misc]
    """No series at all."""

    def __init__(self, state: State) -> None:
        super().__init__("missing")
        self._state = state

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """The state of `--missing`."""
        return Finding(self._state, f"Graphite has no series {metric.value}", metric)


class FreshSummary(Summary):  # type: ignore[misc]
    """All series are fresh."""

    def ok(self, results: Any) -> str:
        """`2 series, the oldest newest point is 8s old`."""
        ages = [r.metric.value.age or 0.0 for r in results if isinstance(r.metric.value, Series)]
        if len(ages) < 2:
            return str(results[0])
        oldest = format_duration(max(ages))
        return f"{len(ages)} series, the newest point of each at most {oldest} old"


def list_nodes(config: Config) -> list[str]:
    """The nodes of the configured servers in metric paths; without any, a glob for all."""
    if not config.servers:
        return ["*"]
    from beanwatch.queues.servers import resolve_servers  # takes time to import

    return [server.node for server in resolve_servers(config.servers)]


def build(options: argparse.Namespace, config: Config, fetch: Fetch) -> Check:
    """Put the three acts together."""
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
    """The check with the real Graphite."""
    url = options.graphite_url or config.graphite.url
    if not url:
        raise UsageError(
            "no URL of Graphite: use --graphite-url http://HOST, or set url under [graphite]"
        )

    def fetch(patterns: Sequence[str], window: int) -> bytes:
        output.current_step = "asking Graphite"
        query = [("target", pattern) for pattern in patterns]
        query += [("format", "json"), ("from", f"-{window}s"), ("until", f"+{MAX_CLOCK_AHEAD}s")]
        return get(f"{url.rstrip('/')}/render?{urlencode(query)}", options.timeout * READING_SHARE)

    return build(options, config, fetch)


def main() -> None:
    """Run as a plugin."""
    run(parser(), with_live_graphite)
