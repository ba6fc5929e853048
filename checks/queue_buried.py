"""check_queue_buried: have jobs given up, and wait for a human?"""

import argparse

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.output import count, perf
from beanwatch.checks.lib.plugin import Check, State, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold

DEFAULT_LIMITS = Threshold(warning="0")  # a buried job is work that was not done


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_buried", __doc__, "-H queue1 -Q 'email.*' -w 0 -c 100")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    return parser


# -- evaluate


def buried(queue: CheckedQueue) -> int:
    """The jobs that nobody takes until they are kicked or deleted."""
    return queue.state.buried or 0


def decide(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
    """The state, and the command that shows the jobs."""
    state, limit = judge(buried(queue), limits)
    text = f"{queue.label}: {count(buried(queue), 'job')} buried"
    return state, f"{text} ({limit}), see: beanwatch queues peek {queue.name}" if limit else text


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """The number that was judged."""
    return perf(queue.label, queue.state.buried, limits=limits)


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire from the source, evaluate and present as above."""
    name = "queue_buried"
    context = queue_check.QueueContext(
        name, options, config, source_.memory, DEFAULT_LIMITS, decide, perfdata
    )
    resources = queues.on_all_servers(queues.QueueResource, name, options, config, source_)
    summary = queue_check.QueueSummary(buried, "jobs buried")
    return queue_check.queue_check(context, summary, source_, resources)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.with_live_servers(build))
