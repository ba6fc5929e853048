"""check_queue_depth: do more jobs wait in a queue than should?"""

import argparse

from beanwatch.checks.lib import queue_check as queues
from beanwatch.checks.lib import source
from beanwatch.checks.lib.plugin import Check, Perf, Perfs, State, count, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.source import Queue, Source
from beanwatch.config import Config, Threshold

DEFAULT = Threshold()  # how deep is too deep only the operator knows


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_depth", __doc__, "-H queue1 -Q 'email.*' -w 1000 -c 5000 --for 300")
    source.add_servers(parser)
    queues.add_queues(parser)
    queues.add_limits(parser)
    return parser


def ready(queue: Queue) -> int:
    """The jobs that a worker could take now."""
    return queue.get("current-jobs-ready")


def decide(queue: Queue, limits: Threshold) -> tuple[State, str]:
    """Evaluate: the state, and who works on the jobs, which is what one asks next."""
    state, limit = judge(ready(queue), limits)
    text = f"{queue.label}: {count(ready(queue), 'job')} ready"
    if not limit:
        return state, text
    if queue.name == "default":  # which every connection watches until it says otherwise
        return state, f"{text} ({limit})"
    watching, waiting = queue.get("current-watching"), queue.get("current-waiting")
    workers = f"{count(watching, 'worker')} there, {waiting} of them idle"
    return state, f"{text} ({limit}), {workers if watching else 'no worker watches it'}"


def perfdata(queue: Queue, limits: Threshold) -> Perfs:
    """Present: the number that was judged."""
    return Perfs([Perf(queue.label, ready(queue), "", limits.warning, limits.critical)])


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire from the source, evaluate and present as above."""
    summary = queues.QueueSummary(ready, "jobs ready")
    context = queues.QueueContext(
        options, config, "depth", DEFAULT, source_.memory, decide, perfdata
    )
    return queues.queue_check("queue_depth", options, config, source_, context, summary)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.live(build))
