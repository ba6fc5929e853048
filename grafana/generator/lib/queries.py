"""Queries that more than one dashboard uses."""

from collections.abc import Callable

from beanwatch.grafana.generator.lib import limits, query, states
from beanwatch.grafana.generator.lib.patterns import (
    JOB,
    JOB_OUTCOME,
    JOB_QUEUE,
    QUEUE,
    QUEUE_SERVER,
    SERVER,
    Patterns,
)
from beanwatch.grafana.generator.lib.query import Query, known
from beanwatch.queues import consumers
from beanwatch.queues.model import JOB_STATES
from beanwatch.store.health import HEALTH_CODES

SILENT_AFTER = 120  # seconds
# How long Prometheus looks back for a server whose points have ended. Graphite does so too: there,
# only the finest archive of the storage schema (6 h) has points 10 s apart.
SILENCE_HOURS = 5


def runs_by_job(runs: Patterns, *outcomes: str) -> Query:
    """Return the query for the runs of each kind of job in the last FAILED_MINUTES."""
    counts = runs.outcomes(*outcomes, stat="count")
    grouped = query.group_by(counts, JOB_QUEUE, JOB)
    target = query.moving_sum(grouped.graphite, limits.FAILED_MINUTES)
    rises = query.group_by(query.increase(counts, limits.FAILED_SPAN), JOB_QUEUE, JOB)
    return rises._replace(graphite=f"aliasByNode({target}, 0, 1)")


def failed_share_by_job(runs: Patterns) -> Query:
    """Return the query for the percentage of failed runs, of each job with FAILED_RUNS or more."""
    every, failed = runs_by_job(runs), runs_by_job(runs, *states.FAILURES)
    enough = f"removeBelowValue({every.graphite}, {limits.FAILED_RUNS})"
    share = f"aliasByNode(asPercent({failed.graphite}, {enough}, 0, 1), 0, 1)"
    promql = known(
        f"100 * ({failed.promql}) / (({every.promql}) >= {limits.FAILED_RUNS})", every, failed
    )
    return Query(share, promql, every.legend)


def failed_share(runs: Patterns) -> Query:
    """Return the query for the percentage of runs that failed in the last FAILED_MINUTES."""

    def graphite(*outcomes: str) -> Query:
        count = query.total(runs.outcomes(*outcomes, stat="count"))
        return Query(query.moving_sum(count.graphite, limits.FAILED_MINUTES))

    def promql(*outcomes: str) -> str:
        counter = runs.outcomes(*outcomes, stat="count")
        return query.total(query.increase(counter, limits.FAILED_SPAN)).promql

    every, good = graphite(), graphite(*states.SUCCESSES)
    share = query.newest(query.percent(query.subtract(every, good), every))
    failed = f"({promql(*states.FAILURES)} or 0 * {promql()})"
    return share._replace(promql=f"100 * {failed} / ({promql()} > 0)" if promql() else "")


def outcomes(runs: Patterns) -> list[Query]:
    """Return the queries for runs per second, one series for each outcome."""
    by_outcome = query.group_by(runs.outcomes(), JOB_OUTCOME)
    return [query.largest_first(query.nonempty(by_outcome))]


def percentiles(runs: Patterns, timer: str, count: int = 3) -> list[Query]:
    """Return the queries for the 50th, 95th and 99th percentile of a timer, in milliseconds.

    Each has the `count` slowest kinds of job.
    """
    shares = (("upper_50", "50 %"), ("upper_95", "95 %"), ("upper_99", "99 %"))

    def slowest(stat: str) -> Query:
        by_job = query.group_by(runs.timer(timer, stat), JOB, how="max")
        return query.highest(query.nonempty(by_job), count)

    return [query.add_suffix(slowest(stat), name) for stat, name in shares]


def time_to_drain(queues: Patterns) -> Query:
    """Return the query for the seconds until each queue is empty.

    A queue that does not get shorter has the value NEVER_DRAINED. Its `drain_seconds` is absent,
    but so is that of a queue whose rates are unknown: so the value is inserted only where both
    rates are known. If several servers have the queue, the longest time counts.
    """
    drain = queues.queue("drain_seconds")
    put, deleted = queues.queue("put_rate"), queues.queue("delete_rate")
    # Every real time is below NEVER_DRAINED.
    never = f"{states.NEVER_DRAINED} + 0 * ({put.promql} + {deleted.promql})"
    promql = f"max by (queue) ({drain.promql} or {never})"

    shortest = query.group_by(drain, QUEUE_SERVER, QUEUE, how="max").graphite
    rates = queues.queue("put_rate", "delete_rate").graphite
    both = query.group_by(Query(f"isNonNull({rates})"), QUEUE_SERVER, QUEUE).graphite
    value = f"offset(scale(removeBelowValue({both}, 2), 0), {states.NEVER_DRAINED})"
    each = f"groupByNodes(group({shortest}, {value}), 'min', 0, 1)"
    return query.nonempty(Query(f"groupByNode({each}, 1, 'max')", promql, "{{queue}}"))


def jobs_on_servers(servers: Patterns, state: str) -> Query:
    """Return the query for the jobs of each server that are in one of JOB_STATES.

    It is the server's own number. A system that has none, such as a job table, has those of its
    queues; their sum is never larger than the server's own number.
    """
    own = query.name_by(servers.server(state), SERVER)
    of_queues = query.group_by(servers.queue(state), QUEUE_SERVER)
    target = f"groupByNode(group({own.graphite}, {of_queues.graphite}), 0, 'max')"
    promql = known(f"({own.promql}) or ({of_queues.promql})", own, of_queues)
    return Query(target, promql, own.legend)


def jobs_by_state(measure: Callable[[str], Query]) -> list[Query]:
    """Return the queries for the number of jobs in each of JOB_STATES.

    `measure` returns the query for the name of a state.
    """
    return [query.alias(query.total(measure(state)), state) for state in JOB_STATES]


def queues_in(queues: Patterns, *states: str) -> Query:
    """Return the query for the number of queues whose consumers are in these adjacent states."""
    codes = [consumers.CODES[state] for state in states]
    counted = query.count_between(queues.queue("consumer_state"), min(codes), max(codes))
    return counted._replace(promql=f"sum({queues.queue_in(*states)})")


def workers_in(workers: Patterns, *states: str) -> Query:
    """Return the query for the number of workers in these adjacent states."""
    codes = [HEALTH_CODES[state] for state in states]
    counted = query.count_between(workers.worker("state"), min(codes), max(codes))
    return counted._replace(promql=f"sum({workers.worker_in(*states)})")


def silent(servers: Patterns) -> Query:
    """Return 1 for each server without a new point for SILENT_AFTER seconds, 0 for the others."""
    polls = query.nonempty(servers.collector("success")).graphite
    target = f"movingMax(isNonNull({polls}), '{SILENT_AFTER}s')"
    # `last_over_time` finds what a scrape no longer brings, because the collector is down; the age
    # tells that the collector is up, and does not reach its server's part any more.
    age = servers.poll_age()
    fresh = f"min by (server) (last_over_time({age}[{SILENT_AFTER}s])) <= {SILENT_AFTER}"
    seen = f"min by (server) (last_over_time({age}[{SILENCE_HOURS}h]))"
    return Query(f"offset(scale({target}, -1), 1)", f"0 * ({fresh}) or 1 + 0 * {seen}")
