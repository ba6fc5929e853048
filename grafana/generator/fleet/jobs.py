"""The sections of the Fleet dashboard on jobs: where they wait, how they flow, who runs them."""

from beanwatch.grafana.generator.lib import limits, page, queries, query, states
from beanwatch.grafana.generator.lib.measures import (
    MILLISECONDS,
    PER_SECOND,
    describe,
    unit_of,
)
from beanwatch.grafana.generator.lib.panels import (
    STACKED,
    Size,
    Style,
    chart,
)
from beanwatch.grafana.generator.lib.patterns import (
    ALL,
    JOB,
    QUEUE,
    Patterns,
)
from beanwatch.grafana.generator.lib.query import Query
from beanwatch.grafana.generator.lib.tables import Column, grid
from beanwatch.telemetry import series

SOME = Patterns(queues="$queues")  # only the queues that the box "Queues" selects
LARGE = Size(12, 9)
LEGEND_RIGHT = Style(legend_right=True)


def _by_queue(measure: str) -> Query:
    """Return the query of one series for each queue, combined over the chosen servers."""
    how = "max" if series.QUEUE.find(measure).is_worst else "sum"
    return query.nonempty(query.group_by(SOME.queue(measure), QUEUE, how=how))


def queues() -> page.Section:
    """Build the section of the queues: a table of all, and charts of the longest."""
    head_age = series.QUEUE.find("head_ready_age")
    columns = [
        Column("Consumer state", _by_queue("consumer_state"), states=states.CONSUMERS, width=120),
        Column("Ready", _by_queue("ready")),
        Column("Reserved", _by_queue("reserved")),
        Column("Delayed", _by_queue("delayed")),
        Column("Buried", _by_queue("buried"), steps=limits.ANY_WARNS),
        Column("Put", _by_queue("put_rate"), unit=PER_SECOND, decimals=1),
        Column("Deleted", _by_queue("delete_rate"), unit=PER_SECOND, decimals=1),
        Column("Consumers", _by_queue("consumers")),
        Column("Idle", _by_queue("idle_consumers")),
        Column("Needed", _by_queue("workers_needed"), decimals=1),
        Column(
            "First job waits",
            _by_queue("head_ready_age"),
            unit=unit_of(head_age),
            steps=limits.steps(limits.HEAD_AGE),
            decimals=0,
        ),
        Column(
            "Drained in",
            queries.time_to_drain(SOME),
            unit=unit_of(series.QUEUE.find("drain_seconds")),
            states=states.DRAINED,
            decimals=0,
        ),
    ]
    return page.Section(
        "Queues",
        [
            grid(
                21,
                "Queues now",
                "Every queue, combined over the servers chosen above, as far as they report the"
                " number. Idle: consumers that wait for"
                " a job. Needed: workers that it takes to run all jobs, and to drain the queue"
                " within 5 minutes. First job waits: how long the first ready job has been ready."
                " Drained in: the time until the queue is empty at the present rates; never: it"
                " does not get shorter. n/a: not known, or the queue system does not report it.",
                "Queue",
                columns,
                link=(page.QUEUE, "${server:queryparam}", "var-queue=${__value.text}"),
                sort="Ready",
                size=Size(24, 11),
                runbook="queue-consumers",
            ),
            chart(
                22,
                "Ready jobs: longest queues",
                "The ten queues with the most ready jobs. A line rises when jobs come in faster"
                " than workers finish them.",
                [query.top_nonzero(_by_queue("ready"), query.MANY)],
                style=LEGEND_RIGHT,
                size=LARGE,
                runbook="queue-depth",
            ),
            chart(
                23,
                "First ready job: longest waits",
                describe(head_age, "The chart shows the ten queues with the longest wait."),
                [query.top_nonzero(_by_queue("head_ready_age"), query.MANY)],
                unit=unit_of(head_age),
                steps=limits.steps(limits.HEAD_AGE),
                style=LEGEND_RIGHT,
                size=LARGE,
                runbook="queue-age",
            ),
        ],
    )


def flow() -> page.Section:
    """Build the section of the flow of jobs: put, deleted, run and buried."""
    return page.Section(
        "Flow",
        [
            chart(
                31,
                "Put and deleted",
                "Jobs put and jobs finished per second, over all queues. While put is above"
                " deleted, the number of jobs grows.",
                [
                    query.alias(query.total(ALL.queue("put_rate")), "put"),
                    query.alias(query.total(ALL.queue("delete_rate")), "deleted"),
                ],
                unit=PER_SECOND,
                colors={"put": states.PUT, "deleted": states.DELETED},
            ),
            chart(
                32,
                "Runs by outcome",
                "Runs per second, by how they ended.",
                queries.outcomes(ALL),
                unit=PER_SECOND,
                colors=states.OUTCOMES,
                style=STACKED,
                runbook="job-failures",
            ),
            chart(
                33,
                "Buried jobs: top queues",
                "The six queues with the most buried jobs.",
                [query.top_nonzero(_by_queue("buried"))],
                runbook="queue-buried",
            ),
        ],
    )


def workers() -> page.Section:
    """Build the section of the workers, and of the jobs that fail or are slow."""
    failed = query.nonempty(queries.runs_by_job(SOME, *states.FAILURES))
    slowest = query.group_by(SOME.timer("duration", "upper_95"), JOB, how="max")
    in_a_state = (ALL.all_workers(state) for state in states.ALL_WORKERS if state != "dead")
    idle = query.alias(query.subtract(ALL.all_workers("live"), *in_a_state), "idle")
    by_state = (query.alias(ALL.all_workers(state), state) for state in states.ALL_WORKERS)
    return page.Section(
        "Workers",
        [
            chart(
                41,
                "Workers by state",
                "How many workers are in each state. Dead and hung workers take no jobs.",
                [idle, *by_state],
                colors={"idle": "super-light-green", **states.ALL_WORKERS},
                style=STACKED,
                runbook="worker-heartbeat",
            ),
            chart(
                42,
                "Failed runs by job",
                "Runs that failed in the last 10 minutes. The chart shows the six kinds of job with"
                " the most failed runs.",
                [query.top_nonzero(failed, known=ALL.all_workers("live"))],
                runbook="job-failures",
            ),
            chart(
                43,
                "Slowest jobs (95th percentile)",
                "How long runs take: 95 % of them take less. The chart shows the six slowest kinds"
                " of job.",
                [query.highest(query.nonempty(slowest))],
                unit=MILLISECONDS,
                runbook="job-failures",
            ),
        ],
    )
