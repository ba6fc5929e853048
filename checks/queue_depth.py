"""check_queue_depth: are more jobs ready in a queue than the limit allows?"""

import argparse

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.all_servers import AllServers
from beanwatch.checks.lib.output import perf
from beanwatch.checks.lib.plugin import Check, State, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queue_words import describe_no_consumer
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.checks.lib.staffing import with_staffing
from beanwatch.config import Config, Threshold
from beanwatch.words import count

DEFAULT_LIMITS = Threshold()  # none: only the operator knows how many jobs are too many


def parser() -> Parser:
    """Make the command-line parser of check_queue_depth."""
    parser = Parser("queue_depth", __doc__, "-H queue1 -Q 'email.*' -w 1000 -c 5000 --for 300")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    return parser


# -- evaluate


def count_ready(queue: CheckedQueue) -> int:
    """Return the number of jobs that a consumer could take now."""
    return queue.state.ready or 0


def decide(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
    """Judge the number of ready jobs. An alert's text also has the number of consumers."""
    state, limit = judge(count_ready(queue), limits)
    text = f"{queue.label}: {count(count_ready(queue), 'job')} ready"
    return state, f"{text} ({limit}){describe_consumers(queue)}" if limit else text


def describe_consumers(queue: CheckedQueue) -> str:
    """Return the end of an alert's text, such as `, 3 consumers, 0 of them idle`.

    It is empty for the default queue, since every new connection is a consumer of that one, and for
    a queue of failed jobs, which needs no consumer.
    """
    consumers, idle = queue.state.consumers, queue.state.idle_consumers
    if queue.state.is_default or queue.state.is_dead_letter or consumers is None:
        return ""
    if not consumers:
        return f", {describe_no_consumer(queue.server.system)}"
    of_them = "" if idle is None else f", {idle} of them idle"
    return f", {count(consumers, 'consumer')}{of_them}"


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """Format the number of ready jobs as performance data."""
    return perf(queue.label, queue.state.ready, limits=limits)


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Make the check from its resources, its context and its summary."""
    name = "queue_depth"
    context = queue_check.QueueContext(
        name,
        options,
        config,
        source_.memory,
        DEFAULT_LIMITS,
        with_staffing(decide, config, source_),
        perfdata,
    )
    resources = queues.on_all_servers(queues.QueueResource, name, options, config, source_)
    summary = queue_check.QueueSummary(count_ready, "job ready", "jobs ready")
    return queue_check.queue_check(
        context, summary, source_, [AllServers(source_, config, resources)]
    )


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), source.with_live_servers(build))
