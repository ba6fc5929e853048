"""check_queue_buried: are jobs buried, so that a person must kick or delete them?"""

import argparse
from collections.abc import Iterator

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.all_servers import AllServers, server_failure
from beanwatch.checks.lib.output import perf
from beanwatch.checks.lib.plugin import Check, Failure, Metric, State, judge
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queue_words import explain_missing, queue_argument
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold
from beanwatch.queues.base import SERVER_ONLY, ServerError
from beanwatch.queues.model import QueueState
from beanwatch.words import count

DEFAULT_LIMITS = Threshold(warning="0")  # a buried job is work that was not done


def parser() -> Parser:
    """Make the command-line parser of check_queue_buried."""
    parser = Parser("queue_buried", __doc__, "-H queue1 -Q 'email.*' -w 0 -c 100")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    return parser


# -- acquire


class BuriedJobs(queues.QueueResource):
    """Reads the chosen queues; or the server's number, if its failed jobs belong to no queue.

    That number is the state of a queue without a name.
    """

    def probe(self) -> Iterator[Metric]:
        """Yield a metric for each queue, or one for the server; or one Failure."""
        if not self.check.judges_server(self.server):
            yield from super().probe()
        elif self.globs:
            reason = f"{self.server}: {explain_missing(self.server, 'buried')} of a queue: "
            reason += "its failed jobs belong to no queue, so run this check without -Q"
            yield Metric(self.name, Failure(reason), context="failure")
        else:
            yield self._probe_server()

    def _probe_server(self) -> Metric:
        try:
            reading = self.source.fetch(self.server, SERVER_ONLY)
            if reading.server is None:
                raise ServerError(reading.trouble)
        except ServerError as error:
            return server_failure(self.source, self.server, self.config, error)
        self.source.note_doubts(self.server, reading.implausible)
        state = QueueState("", buried=reading.server.buried)
        queue = CheckedQueue(self.server.node, self.server, state)
        return Metric(f"{self.name} buried", queue, context="queue")


# -- evaluate


def count_buried(queue: CheckedQueue) -> int:
    """Return the number of buried jobs. No consumer takes them until somebody kicks them."""
    return queue.state.buried or 0


def decide(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
    """Judge the number of buried jobs. An alert's text also has the command that shows the jobs."""
    state, limit = judge(count_buried(queue), limits)
    if not queue.name:
        text = f"{queue.label}: {count(count_buried(queue), 'failed job')} on this server"
        return state, f"{text} ({limit}), see: beanwatch failures list" if limit else text
    text = f"{queue.label}: {count(count_buried(queue), 'job')} buried"
    look = f"see: beanwatch queues peek {queue_argument(queue.name)}"
    return state, f"{text} ({limit}), {look}" if limit else text


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """Format the number of buried jobs as performance data."""
    label = queue.label if queue.name else f"{queue.label} buried"
    return perf(label, queue.state.buried, limits=limits)


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Make the check from its resources, its context and its summary."""
    name = "queue_buried"
    context = queue_check.QueueContext(
        name, options, config, source_.memory, DEFAULT_LIMITS, decide, perfdata
    )
    resources = queues.on_all_servers(BuriedJobs, name, options, config, source_)
    summary = queue_check.QueueSummary(count_buried, "job buried", "jobs buried")
    return queue_check.queue_check(
        context, summary, source_, [AllServers(source_, config, resources)]
    )


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), source.with_live_servers(build))
