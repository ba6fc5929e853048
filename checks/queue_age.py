"""check_queue_age: how long has the next job of a queue been waiting?"""

import argparse
import math
from collections.abc import Iterator
from typing import Any

from beanwatch.checks.lib import queue_check as queues
from beanwatch.checks.lib import source
from beanwatch.checks.lib.memory import Memory, Scope
from beanwatch.checks.lib.plugin import Check, Metric, Perf, Perfs, State, ago, count, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queue_check import Queues
from beanwatch.checks.lib.source import Queue, Source
from beanwatch.config import Config, Threshold
from beanwatch.queues.beanstalkd.connection import ServerError
from beanwatch.queues.beanstalkd.stats import Stats

DEFAULT = Threshold(warning="300", critical="1800")


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_age", __doc__, "-H queue1 -Q 'email.*' -w 300 -c 1800")
    source.add_servers(parser)
    queues.add_queues(parser)
    queues.add_limits(parser)
    return parser


# -- acquire


class Heads(Queues):
    """The chosen queues, each with how long the job that is next has waited."""

    def probe(self) -> Iterator[Metric]:
        """Read the queues, then the heads of those where jobs are ready."""
        metrics = list(super().probe())
        queues = [metric.value for metric in metrics if isinstance(metric.value, Queue)]
        busy = [queue.name for queue in queues if queue.get("current-jobs-ready")]
        try:
            heads = self.source.heads(self.server, busy) if busy else {}
        except ServerError as error:
            yield source.failure(self.server, self.config, error)
            return
        for metric in metrics:
            queue = metric.value
            if isinstance(queue, Queue) and queue.get("current-jobs-ready"):
                waited = decide_wait(heads.get(queue.name), self.source.memory, queue.key)
                metric = metric.replace(value=queue._replace(waited=waited))
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


def waited(queue: Queue) -> float:
    """Seconds, 0 when no job is ready."""
    return queue.waited or 0.0


# -- evaluate


def decide(queue: Queue, limits: Threshold) -> tuple[State, str]:
    """The state, and how many wait behind the head."""
    state, limit = judge(waited(queue), limits)
    if queue.waited is None:
        return state, f"{queue.label}: no job waits"
    if math.isnan(queue.waited):
        return state, f"{queue.label}: how long its next job has waited cannot be read"
    text = f"{queue.label}: the next job has waited {ago(queue.waited)}"
    ready = count(queue.get("current-jobs-ready"), "job")
    return state, f"{text} ({limit} s), {ready} ready" if limit else text


# -- present


def perfdata(queue: Queue, limits: Threshold) -> Perfs:
    """The number that was judged."""
    return Perfs([Perf(queue.label, waited(queue), "s", limits.warning, limits.critical)])


class AgeSummary(queues.QueueSummary):
    """Ages do not add up: the longest wait says it."""

    def ok(self, results: Any) -> str:
        """`3 queues: the longest wait is 12s, in images`."""
        found = queues.queues_of(results)
        if len(found) < 2:
            return super().ok(results)
        if all(queue.waited is None for queue in found):
            return f"{len(found)} queues: no job waits"
        top = max(found, key=lambda queue: (queue.waited is not None, waited(queue)))
        return f"{len(found)} queues: the longest wait is {ago(waited(top))}, in {top.label}"


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Put the three acts together."""
    context = queues.QueueContext(options, config, "age", DEFAULT, source_.memory, decide, perfdata)
    heads = queues.of_all(Heads, options, config, source_)
    summary = AgeSummary(waited, "")
    return queues.queue_check("queue_age", options, config, source_, context, summary, heads)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.live(build))
