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
    """Percent of the runs that failed, in the last minutes."""
    all_runs, good = (
        graphite.moving(graphite.total(runs.outcomes(*names, stat="count")), limits.FAILED_SPAN)
        for names in ((), states.SUCCESSES)
    )
    return graphite.newest(graphite.percent(graphite.subtract(all_runs, good), all_runs))


def outcomes(runs: Patterns) -> list[str]:
    """Runs a second, by outcome."""
    by_outcome = graphite.group_by(runs.outcomes(), JOB_OUTCOME)
    return [graphite.largest_first(graphite.nonempty(by_outcome))]


def percentiles(runs: Patterns, timer: str, count: int = 3) -> list[str]:
    """Milliseconds that half of the runs, 95 % and 99 % stay below, of the slowest kinds of job."""
    shares = (("upper_50", "50 %"), ("upper_95", "95 %"), ("upper_99", "99 %"))

    def slowest(stat: str) -> str:
        by_job = graphite.group_by(runs.timer(timer, stat), JOB, how="max")
        return graphite.highest(graphite.nonempty(by_job), count)

    return [graphite.add_suffix(slowest(stat), name) for stat, name in shares]


def time_to_drain(queues: Patterns) -> str:
    """Seconds until a queue is empty, by queue; NEVER_DRAINED where it does not get shorter.

    The time is absent for a queue that grows, and for one whose rates are unknown. So it is
    replaced only where both rates are known. Of several servers the longest time counts.
    """
    drain = graphite.group_by(queues.queue("drain_seconds"), QUEUE_SERVER, QUEUE, how="max")
    rates = graphite.count_known(queues.queue("put_rate", "delete_rate"), QUEUE_SERVER, QUEUE)
    never = graphite.constant_from(rates, 2, states.NEVER_DRAINED)
    # Where there is a time, it is below NEVER_DRAINED, and so is the minimum.
    both = graphite.group_by(graphite.group(drain, never), 0, 1, how="min")
    return graphite.nonempty(graphite.group_by(both, 1, how="max"))


def jobs_by_state(measure: Callable[[str], str]) -> list[str]:
    """The jobs in each state; `measure` makes the pattern of one of JOB_STATES."""
    return [graphite.alias(graphite.total(measure(state)), state) for state in JOB_STATES]
