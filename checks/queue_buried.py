"""check_queue_buried: are jobs buried, so that a person must kick or delete them?"""

import argparse

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.output import perf
from beanwatch.checks.lib.plugin import Check, State, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold
from beanwatch.words import count

DEFAULT_LIMITS = Threshold(warning="0")  # a buried job is work that was not done


def parser() -> Parser:
    """Make the command-line parser of check_queue_buried."""
    parser = Parser("queue_buried", __doc__, "-H queue1 -Q 'email.*' -w 0 -c 100")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    return parser


# -- evaluate


def count_buried(queue: CheckedQueue) -> int:
    """Return the number of buried jobs. No consumer takes them until somebody kicks them."""
    return queue.state.buried or 0


def decide(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
    """Judge the number of buried jobs. An alert's text also has the command that shows the jobs."""
    state, limit = judge(count_buried(queue), limits)
    text = f"{queue.label}: {count(count_buried(queue), 'job')} buried"
    look = f"see: beanwatch queues peek {queues.queue_argument(queue.name)}"
    return state, f"{text} ({limit}), {look}" if limit else text


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """Format the number of buried jobs as performance data."""
    return perf(queue.label, queue.state.buried, limits=limits)


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Make the check from its resources, its context and its summary."""
    name = "queue_buried"
    context = queue_check.QueueContext(
        name, options, config, source_.memory, DEFAULT_LIMITS, decide, perfdata
    )
    resources = queues.on_all_servers(queues.QueueResource, name, options, config, source_)
    summary = queue_check.QueueSummary(count_buried, "job buried", "jobs buried")
    return queue_check.queue_check(context, summary, source_, resources)


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), source.with_live_servers(build))
