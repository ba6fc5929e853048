"""Says in the text of an alert how many workers a queue has, and about how many it needs."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

from beanwatch.checks.lib.plugin import Critical, State, Warn
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold
from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.servers import Server

if TYPE_CHECKING:
    from beanwatch.store.heartbeats import Worker

Decide = Callable[[CheckedQueue, Threshold], tuple[State, str]]
OTHER_CAUSES = ("stalled", "frozen", "silent", "paused", "draining")  # more workers do not help
MIN_SECONDS = 5.0  # between two runs of a check, from which a rate is computed


def with_staffing(decide: Decide, config: Config, source: Source) -> Decide:
    """Return `decide` with the number of workers in the text of each alert, if it is known."""
    is_only_server = len(source.servers) < 2 and len(config.servers) < 2

    def decide_with_staffing(queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
        state, text = decide(queue, limits)
        may_help = queue.verdict not in OTHER_CAUSES and not queue.state.is_default
        if state in (Warn, Critical) and may_help:
            text += describe_staffing(queue, source, is_only_server=is_only_server)
        return state, text

    return decide_with_staffing


def describe_staffing(queue: CheckedQueue, source: Source, *, is_only_server: bool) -> str:
    """Return a text such as `, 3 workers there, about 5 needed`; "" if it is not known.

    How long a run takes is known from the records of the queue's workers, since they were started.
    At least so many are needed if the rate of puts is not known: it takes two runs of the check.
    """
    put_rate = _measure_put_rate(queue, source)
    workers = source.workers()
    if workers is None:
        return ""
    # Imported here, because only an alert needs them.
    from beanwatch.checks.lib.heartbeat_evidence import group_by_health
    from beanwatch.store.run_totals import summarize
    from beanwatch.store.workers_needed import workers_needed
    from beanwatch.words import count

    own = workers_of(queue.name, queue.server, workers, is_only_server=is_only_server)
    runs = summarize(
        one
        for worker in own
        for one in (worker.heartbeat and worker.heartbeat.totals) or ()
        if one.queue == queue.name
    )
    needed = workers_needed(runs, queue.state.ready, put_rate or 0.0)
    if not needed:
        return ""
    there, least = len(group_by_health(own).running), math.ceil(needed)
    if put_rate is None and least <= there:
        return ""  # they may be enough or too few
    word = "at least" if put_rate is None else "about"
    return f", {count(there, 'worker')} there, {word} {least} needed"


def workers_of(
    queue: str, server: Server, workers: "Sequence[Worker]", *, is_only_server: bool
) -> "tuple[Worker, ...]":
    """Return the workers that take the jobs of a queue of this server.

    `is_only_server` is as in `takes_jobs_from`. The children of a worker are left out: they have
    no connection of their own.
    """
    from beanwatch.store.heartbeats import takes_jobs_from  # imported only where Redis is used

    node, address = server.node, str(server)

    def find() -> "Iterator[Worker]":
        for worker in workers:
            beat = worker.heartbeat
            if beat is None or beat.child_of or queue not in beat.queues:
                continue
            if takes_jobs_from(beat, node, address, is_only_server=is_only_server):
                yield worker

    return tuple(find())


def _measure_put_rate(queue: CheckedQueue, source: Source) -> float | None:
    """Return the jobs put per second since the last run that gave an alert; None: unknown."""
    puts, now, key = queue.state.puts, time.time(), queue.key("puts")
    if puts is None:
        return None
    rate = None
    match source.memory.recall(key):
        case [int() | float() as at, int() as then] if now - at >= MIN_SECONDS and puts >= then:
            rate = float(puts - then) / float(now - at)
    source.memory.remember(key, [now, puts])
    return rate
