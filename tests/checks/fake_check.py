"""A check that the tests add: the one file that a new check needs."""

SOURCE = '''\
"""check_queue_delayed: do more jobs wait for their time than should?"""

import argparse

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.output import count, perf
from beanwatch.checks.lib.plugin import Check, State, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold


def parser() -> Parser:
    parser = Parser("queue_delayed", __doc__, "-H queue1 -w 1000")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    return parser


def delayed(queue: CheckedQueue) -> int:
    return queue.state.delayed or 0


def decide(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
    state, limit = judge(delayed(queue), limits)
    text = f"{queue.label}: {count(delayed(queue), 'job')} delayed"
    return state, f"{text} ({limit})" if limit else text


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    return perf(queue.label, queue.state.delayed, limits=limits)


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    name = "queue_delayed"
    context = queue_check.QueueContext(
        name, options, config, source_.memory, Threshold(), decide, perfdata
    )
    resources = queues.on_all_servers(queues.QueueResource, name, options, config, source_)
    summary = queue_check.QueueSummary(delayed, "jobs delayed")
    return queue_check.queue_check(context, summary, source_, resources)


def main() -> None:
    run(parser(), source.with_live_servers(build))
'''
