"""check_queue_buried: have jobs given up, and wait for a human?"""

import argparse

from beanwatch.checks.lib import queue_check as queues
from beanwatch.checks.lib import source
from beanwatch.checks.lib.plugin import Check, Perf, Perfs, State, count, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.source import Queue, Source
from beanwatch.config import Config, Threshold

DEFAULT = Threshold(warning="0")  # a buried job is work that was not done


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_buried", __doc__, "-H queue1 -Q 'email.*' -w 0 -c 100")
    source.add_servers(parser)
    queues.add_queues(parser)
    queues.add_limits(parser)
    return parser


def buried(queue: Queue) -> int:
    """The jobs that nobody takes until they are kicked or deleted."""
    return queue.get("current-jobs-buried")


def decide(queue: Queue, limits: Threshold) -> tuple[State, str]:
    """Evaluate: the state, and how to look."""
    state, limit = judge(buried(queue), limits)
    text = f"{queue.label}: {count(buried(queue), 'job')} buried"
    return state, f"{text} ({limit}), see: beanwatch queues peek {queue.name}" if limit else text


def perfdata(queue: Queue, limits: Threshold) -> Perfs:
    """Present: the number that was judged."""
    return Perfs([Perf(queue.label, buried(queue), "", limits.warning, limits.critical)])


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire from the source, evaluate and present as above."""
    summary = queues.QueueSummary(buried, "jobs buried")
    context = queues.QueueContext(
        options, config, "buried", DEFAULT, source_.memory, decide, perfdata
    )
    return queues.queue_check("queue_buried", options, config, source_, context, summary)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.live(build))
