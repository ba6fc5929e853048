"""check_queue_depth: do more jobs wait in a queue than should?"""

import argparse

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.output import count, perf
from beanwatch.checks.lib.plugin import Check, State, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold

DEFAULT_LIMITS = Threshold()  # only the operator knows how deep is too deep


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_depth", __doc__, "-H queue1 -Q 'email.*' -w 1000 -c 5000 --for 300")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    return parser


# -- evaluate


def ready(queue: CheckedQueue) -> int:
    """The jobs that a worker could take now."""
    return queue.state.ready or 0


def decide(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
    """The state, and who works on the jobs, since that is the next question."""
    state, limit = judge(ready(queue), limits)
    text = f"{queue.label}: {count(ready(queue), 'job')} ready"
    return state, f"{text} ({limit}){describe_workers(queue)}" if limit else text


def describe_workers(queue: CheckedQueue) -> str:
    """The workers, as far as they are known. Every connection watches the default queue."""
    consumers, idle = queue.state.consumers, queue.state.idle_consumers
    if queue.state.is_default or consumers is None:
        return ""
    if not consumers:
        return ", no worker watches it"
    of_them = "" if idle is None else f", {idle} of them idle"
    return f", {count(consumers, 'worker')} there{of_them}"


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """The number that was judged."""
    return perf(queue.label, queue.state.ready, limits=limits)


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire from the source, evaluate and present as above."""
    name = "queue_depth"
    context = queue_check.QueueContext(
        name, options, config, source_.memory, DEFAULT_LIMITS, decide, perfdata
    )
    resources = queues.on_all_servers(queues.QueueResource, name, options, config, source_)
    summary = queue_check.QueueSummary(ready, "jobs ready")
    return queue_check.queue_check(context, summary, source_, resources)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.with_live_servers(build))
