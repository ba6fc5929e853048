"""check_tube_age: how long has the next job of a tube been waiting?"""

import argparse
import math
from collections.abc import Iterator
from typing import Any

from beanwatch.checks import source, tubes
from beanwatch.checks.memory import Memory, Scope
from beanwatch.checks.plugin import Check, Metric, Perf, Perfs, State, ago, count, judge
from beanwatch.checks.process import Parser, run
from beanwatch.checks.source import Source, Tube
from beanwatch.checks.tubes import Tubes
from beanwatch.collectors.protocol import ServerError
from beanwatch.collectors.stats import Stats
from beanwatch.config import Config, Threshold

DEFAULT = Threshold(warning="300", critical="1800")


def parser() -> Parser:
    """The command line."""
    parser = Parser("tube_age", __doc__, "-H queue1 -T 'email.*' -w 300 -c 1800")
    source.add_servers(parser)
    tubes.add_tubes(parser)
    tubes.add_limits(parser)
    return parser


# -- acquire


class Heads(Tubes):
    """The chosen tubes, each with how long the job that is next has waited."""

    def probe(self) -> Iterator[Metric]:
        """Read the tubes, then the heads of those where jobs are ready."""
        metrics = list(super().probe())
        tubes = [metric.value for metric in metrics if isinstance(metric.value, Tube)]
        busy = [tube.name for tube in tubes if tube.get("current-jobs-ready")]
        try:
            heads = self.source.heads(self.server, busy) if busy else {}
        except ServerError as error:
            yield source.failure(self.server, self.config, error)
            return
        for metric in metrics:
            tube = metric.value
            if isinstance(tube, Tube) and tube.get("current-jobs-ready"):
                waited = decide_wait(heads.get(tube.name), self.source.memory, tube.key)
                metric = metric.replace(value=tube._replace(waited=waited))
            yield metric


def decide_wait(head: Stats | None, memory: Memory | Scope, key: str) -> float:
    """Seconds that a job has waited, by its `stats-job`; nan if that could not be read.

    beanstalkd's `age` counts from the put. That is the wait of a job that nobody has had yet,
    less its delay; of a retried or kicked one it would be its whole life. Such a job has
    waited since it was first seen as the head.
    """
    if head is None:
        return math.nan
    if not head:
        return 0.0  # somebody has just taken it
    if not head.get("reserves") and not head.get("kicks"):
        return max(0.0, float(head.get("age", 0)) - float(head.get("delay", 0)))
    return memory.lasting(f"head {key} {head.get('id')}", True)


def waited(tube: Tube) -> float:
    """Seconds, 0 when no job is ready."""
    return tube.waited or 0.0


# -- evaluate


def decide(tube: Tube, limits: Threshold) -> tuple[State, str]:
    """The state, and how many wait behind the head."""
    state, limit = judge(waited(tube), limits)
    if tube.waited is None:
        return state, f"{tube.label}: no job waits"
    if math.isnan(tube.waited):
        return state, f"{tube.label}: how long its next job has waited cannot be read"
    text = f"{tube.label}: the next job has waited {ago(tube.waited)}"
    ready = count(tube.get("current-jobs-ready"), "job")
    return state, f"{text} ({limit} s), {ready} ready" if limit else text


# -- present


def perfdata(tube: Tube, limits: Threshold) -> Perfs:
    """The number that was judged."""
    return Perfs([Perf(tube.label, waited(tube), "s", limits.warning, limits.critical)])


class AgeSummary(tubes.TubeSummary):
    """Ages do not add up: the longest wait says it."""

    def ok(self, results: Any) -> str:
        """`3 tubes: the longest wait is 12s, in images`."""
        found = tubes.tubes_of(results)
        if len(found) < 2:
            return super().ok(results)
        if all(tube.waited is None for tube in found):
            return f"{len(found)} tubes: no job waits"
        top = max(found, key=lambda tube: (tube.waited is not None, waited(tube)))
        return f"{len(found)} tubes: the longest wait is {ago(waited(top))}, in {top.label}"


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Put the three acts together."""
    context = tubes.TubeContext(options, config, "age", DEFAULT, source_.memory, decide, perfdata)
    heads = tubes.of_all(Heads, options, config, source_)
    summary = AgeSummary(waited, "")
    return tubes.tube_check("tube_age", options, config, source_, context, summary, heads)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.live(build))
