"""check_queue_age: how long has the next job of a queue been waiting?"""

import argparse

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.all_servers import AllServers
from beanwatch.checks.lib.output import NO_LIMITS, perf
from beanwatch.checks.lib.plugin import Check, Ok, State, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queue_words import describe_dead_letters
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.checks.lib.staffing import with_staffing
from beanwatch.config import Config, Threshold
from beanwatch.durations import format_duration
from beanwatch.light_typing import Any
from beanwatch.queues.base import Reading, Wanted
from beanwatch.queues.model import QueueState
from beanwatch.words import count

DEFAULT_LIMITS = Threshold(warning="300", critical="1800", is_default=True)  # seconds


def parser() -> Parser:
    """Make the command-line parser of check_queue_age."""
    parser = Parser("queue_age", __doc__, "-H queue1 -Q 'email.*' -w 300 -c 1800")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    return parser


# -- acquire


class QueueHeads(queues.QueueResource):
    """Reads the chosen queues, and the age of the first ready job of each."""

    wanted = Wanted(server=False, heads=("ready",), overtaken=True)

    def complete(self, queue: QueueState, reading: Reading) -> QueueState:
        """Set age 0 if a consumer took the first job during the reading: the queue is moving."""
        is_moving = queue.head_ready_age is None and queue.name in reading.taken_heads
        return queue._replace(head_ready_age=0.0) if queue.ready and is_moving else queue


def seconds_waited(queue: CheckedQueue) -> float:
    """Return for how many seconds the job that waits longest has been ready; 0 if none is ready.

    It is the next job, or one that jobs of a higher priority have overtaken, if that is known.
    These are whole seconds, as they are shown, so that no alert says `5m 0s (limit 300 s)`.
    """
    ages = (queue.state.head_ready_age, queue.state.overtaken_age)
    return float(int(max(age or 0.0 for age in ages)))


# -- evaluate


def decide(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
    """Judge the longest known wait. An alert's text also has the number of ready jobs.

    The default limits are for workers, so they do not judge a queue of failed jobs.
    """
    if queue.state.is_dead_letter and limits.is_default:
        return Ok, f"{queue.label}: {describe_dead_letters(queue.state.ready or 0)}"
    state, limit = judge(seconds_waited(queue), limits)
    if not queue.state.ready:
        return state, f"{queue.label}: no job waits"
    overtaken = queue.state.overtaken_age
    is_overtaken = overtaken is not None and overtaken >= (queue.state.head_ready_age or 0.0)
    who = "a job that others overtook by their priority" if is_overtaken else "the next job"
    text = f"{queue.label}: {who} has waited {format_duration(seconds_waited(queue))}"
    if limit:
        text += f" ({limit} s), {count(queue.state.ready, 'job')} ready"
    return state, text


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """Format the longest known wait (seconds) as performance data."""
    if queue.state.is_dead_letter and limits.is_default:
        limits = NO_LIMITS
    is_known = queue.state.head_ready_age is not None
    return perf(queue.label, seconds_waited(queue) if is_known else None, "s", limits)


class AgeSummary(queue_check.QueueSummary):
    """Presents several queues without a problem by their longest wait, as ages do not add up."""

    def ok(self, results: Any) -> str:
        """Return a text such as `3 queues: the longest wait is 12s, in images`."""
        found = queue_check.queues_of(results)
        if len(found) < 2:
            return super().ok(results)
        waiting = [queue for queue in found if queue.state.ready and not queue.state.is_dead_letter]
        if not waiting:
            has_failed = any(queue.state.ready for queue in found)
            return f"{len(found)} queues: no job waits{' for a worker' if has_failed else ''}"
        top = max(waiting, key=seconds_waited)
        longest = format_duration(seconds_waited(top))
        return f"{len(found)} queues: the longest wait is {longest}, in {top.label}"


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Make the check from its resources, its context and its summary."""
    name = "queue_age"
    context = queue_check.QueueContext(
        name,
        options,
        config,
        source_.memory,
        DEFAULT_LIMITS,
        with_staffing(decide, config, source_),
        perfdata,
    )
    resources = queues.on_all_servers(QueueHeads, name, options, config, source_)
    summary = AgeSummary(seconds_waited)
    return queue_check.queue_check(
        context, summary, source_, [AllServers(source_, config, resources)]
    )


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), source.with_live_servers(build))
