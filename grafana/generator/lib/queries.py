"""Queries that more than one dashboard uses."""

from collections.abc import Callable

from beanwatch.grafana.generator.lib import graphite, limits, states
from beanwatch.grafana.generator.lib.patterns import (
    JOB,
    JOB_OUTCOME,
    QUEUE,
    QUEUE_SERVER,
    Patterns,
)
from beanwatch.queues.model import JOB_STATES


def failed_share(runs: Patterns) -> str:
    """Return the query for the percentage of runs that failed in the last FAILED_SPAN."""
    all_runs, good = (
        graphite.moving(graphite.total(runs.outcomes(*names, stat="count")), limits.FAILED_SPAN)
        for names in ((), states.SUCCESSES)
    )
    return graphite.newest(graphite.percent(graphite.subtract(all_runs, good), all_runs))


def outcomes(runs: Patterns) -> list[str]:
    """Return the queries for runs per second, one series for each outcome."""
    by_outcome = graphite.group_by(runs.outcomes(), JOB_OUTCOME)
    return [graphite.largest_first(graphite.nonempty(by_outcome))]


def percentiles(runs: Patterns, timer: str, count: int = 3) -> list[str]:
    """Return the queries for the 50th, 95th and 99th percentile of a timer, in milliseconds.

    Each has the `count` slowest kinds of job.
    """
    shares = (("upper_50", "50 %"), ("upper_95", "95 %"), ("upper_99", "99 %"))

    def slowest(stat: str) -> str:
        by_job = graphite.group_by(runs.timer(timer, stat), JOB, how="max")
        return graphite.highest(graphite.nonempty(by_job), count)

    return [graphite.add_suffix(slowest(stat), name) for stat, name in shares]


def time_to_drain(queues: Patterns) -> str:
    """Return the query for the seconds until each queue is empty.

    A queue that does not get shorter has the value NEVER_DRAINED. Its `drain_seconds` is absent,
    but so is that of a queue whose rates are unknown: so the value is inserted only where both
    rates are known. If several servers have the queue, the longest time counts.
    """
    drain = graphite.group_by(queues.queue("drain_seconds"), QUEUE_SERVER, QUEUE, how="max")
    rates = graphite.count_known(queues.queue("put_rate", "delete_rate"), QUEUE_SERVER, QUEUE)
    never = graphite.constant_from(rates, 2, states.NEVER_DRAINED)
    # Every real time is below NEVER_DRAINED, so the minimum prefers the real time.
    both = graphite.group_by(graphite.group(drain, never), 0, 1, how="min")
    return graphite.nonempty(graphite.group_by(both, 1, how="max"))


def jobs_by_state(measure: Callable[[str], str]) -> list[str]:
    """Return the queries for the number of jobs in each of JOB_STATES.

    `measure` returns the pattern for the name of a state.
    """
    return [graphite.alias(graphite.total(measure(state)), state) for state in JOB_STATES]
