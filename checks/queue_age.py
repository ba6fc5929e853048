"""check_queue_age: how long has the next job of a queue been waiting?"""

import argparse
from typing import Any

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.output import count, perf
from beanwatch.checks.lib.plugin import Check, State, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold
from beanwatch.durations import format_duration
from beanwatch.queues.base import Reading, Wanted
from beanwatch.queues.model import QueueState

DEFAULT_LIMITS = Threshold(warning="300", critical="1800")  # seconds


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_age", __doc__, "-H queue1 -Q 'email.*' -w 300 -c 1800")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    return parser


# -- acquire


class QueueHeads(queues.QueueResource):
    """The chosen queues, each with the age of its first ready job."""

    wanted = Wanted(server=False, heads=("ready",))

    def complete(self, queue: QueueState, reading: Reading) -> QueueState:
        """Give age 0 to a queue whose first job was taken while we looked: its jobs move."""
        is_moving = queue.head_ready_age is None and queue.name not in reading.unread_heads
        return queue._replace(head_ready_age=0.0) if queue.ready and is_moving else queue


def waited(queue: CheckedQueue) -> float:
    """Seconds that the next job has waited; 0 when no job is ready."""
    return queue.state.head_ready_age or 0.0


# -- evaluate


def decide(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
    """The state, and how many jobs wait in all."""
    state, limit = judge(waited(queue), limits)
    if not queue.state.ready:
        return state, f"{queue.label}: no job waits"
    text = f"{queue.label}: the next job has waited {format_duration(waited(queue))}"
    if limit:
        text += f" ({limit} s), {count(queue.state.ready, 'job')} ready"
    return state, text


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """The number that was judged."""
    return perf(queue.label, queue.state.head_ready_age, "s", limits)


class AgeSummary(queue_check.QueueSummary):
    """Ages do not add up, so the longest wait is shown."""

    def ok(self, results: Any) -> str:
        """`3 queues: the longest wait is 12s, in images`."""
        found = queue_check.queues_of(results)
        if len(found) < 2:
            return super().ok(results)
        waiting = [queue for queue in found if queue.state.ready]
        if not waiting:
            return f"{len(found)} queues: no job waits"
        top = max(waiting, key=waited)
        longest = format_duration(waited(top))
        return f"{len(found)} queues: the longest wait is {longest}, in {top.label}"


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire by QueueHeads, evaluate and present as above."""
    name = "queue_age"
    context = queue_check.QueueContext(
        name, options, config, source_.memory, DEFAULT_LIMITS, decide, perfdata
    )
    resources = queues.on_all_servers(QueueHeads, name, options, config, source_)
    summary = AgeSummary(waited, "")
    return queue_check.queue_check(context, summary, source_, resources)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.with_live_servers(build))
