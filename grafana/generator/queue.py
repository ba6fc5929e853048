"""The Queue dashboard: which jobs enter and leave one queue, and who works on them."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator import beanstalkd
from beanwatch.grafana.generator.lib import limits, page, queries, query, states
from beanwatch.grafana.generator.lib.measures import (
    MILLISECONDS,
    PER_SECOND,
    describe,
    unit_of,
)
from beanwatch.grafana.generator.lib.panels import (
    HALF,
    STACKED,
    STEPPED,
    Axis,
    Size,
    Style,
    chart,
    tile,
    timeline,
)
from beanwatch.grafana.generator.lib.patterns import QUEUE_SERVER, Patterns
from beanwatch.grafana.generator.lib.query import Query
from beanwatch.grafana.generator.lib.source import GRAPHITE, Source
from beanwatch.grafana.generator.lib.tables import Column, grid
from beanwatch.telemetry import series

ONE = Patterns(queues="$queue")
HEAD_AGE = series.QUEUE.find("head_ready_age")
BURIED_AGE = series.QUEUE.find("head_buried_age")
DRAIN = series.QUEUE.find("drain_seconds")


def build(source: Source) -> Dashboard:
    """Build the dashboard `beanwatch-queue`."""
    return page.page(
        source,
        page.QUEUE,
        "beanwatch / Queue",
        "One queue: its jobs, its consumers, and how the runs of its jobs end.",
        [page.servers, _queue_shown],
        [
            _now(),
            _jobs(),
            _consumers(),
            _runs(),
            _buried(),
            _servers(),
            beanstalkd.queue_section(ONE),
        ],
        runbook="queue-depth",
    )


def _queue_shown(source: Source) -> page.Made:
    about = "The queue to show."
    if source is GRAPHITE:
        about += " Dots and other special characters of its name are written as _."
    found = Query(
        series.queue("$prefix", "$server", "*", "ready").rpartition(".")[0],
        page.values_of("queue_jobs", "queue", 'server=~"$server"'),
    )
    return page.choice(source, "queue", "Queue", about, found, several=False)


def _sum(measure: str) -> Query:
    return query.total(ONE.queue(measure))


def _worst(measure: str) -> Query:
    return query.maximum(ONE.queue(measure))


def _text(measure: str, more: str = "") -> str:
    return describe(series.QUEUE.find(measure), more)


def _now() -> page.Section:
    return page.Section(
        "",
        [
            tile(
                1,
                "Consumer state",
                "Shows whether consumers take the jobs of the queue. No consumer: jobs are ready,"
                " and no consumer is connected. Stalled: consumers are connected, but take no job."
                " Saturated: all consumers are busy, perhaps with other queues, and the queue does"
                " not shrink.",
                query.newest(_worst("consumer_state")),
                states=states.CONSUMERS,
                runbook="queue-consumers",
            ),
            tile(
                2,
                "Ready",
                _text("ready"),
                query.newest(_sum("ready")),
                good=states.READY,
                graph=True,
            ),
            tile(
                3,
                "First job waits",
                describe(HEAD_AGE),
                query.newest(_worst(HEAD_AGE.name)),
                unit=unit_of(HEAD_AGE),
                steps=limits.steps(limits.HEAD_AGE),
                decimals=0,
                runbook="queue-age",
            ),
            tile(
                4,
                "Drained in",
                "Time until the queue is empty at the present rates. Never: the queue does not get"
                " shorter.",
                query.newest(queries.time_to_drain(ONE)),
                unit=unit_of(DRAIN),
                states=states.DRAINED,
                decimals=0,
            ),
            tile(
                5,
                "Buried",
                _text("buried", "Find out why they failed, then kick or delete them."),
                query.newest(_sum("buried")),
                steps=limits.ANY_WARNS,
                runbook="queue-buried",
            ),
            tile(
                6,
                "Put",
                _text("put_rate"),
                query.newest(_sum("put_rate")),
                unit=PER_SECOND,
                good=states.PUT,
                graph=True,
                decimals=1,
            ),
            tile(
                7,
                "Deleted",
                _text("delete_rate"),
                query.newest(_sum("delete_rate")),
                unit=PER_SECOND,
                good=states.DELETED,
                graph=True,
                decimals=1,
            ),
            tile(
                8,
                "Consumers",
                _text("consumers"),
                query.newest(_sum("consumers")),
                runbook="queue-consumers",
            ),
        ],
    )


def _jobs() -> page.Section:
    put, deleted = _sum("put_rate"), _sum("delete_rate")
    growth = query.only_where(query.subtract(put, deleted), put, deleted)
    return page.Section(
        "Jobs",
        [
            chart(
                11,
                "Jobs by state",
                "Ready: a worker may take the job now. Reserved: a worker has taken it and has not"
                " finished it. Delayed: it is not due yet. Buried: it failed, and waits for"
                " somebody to kick or delete it.",
                queries.jobs_by_state(ONE.queue),
                colors=states.JOB_STATES,
                style=STACKED,
                size=HALF,
            ),
            chart(
                12,
                "Put and deleted",
                "Jobs put and jobs finished per second. While put is above deleted, the number of"
                " jobs grows.",
                [query.alias(put, "put"), query.alias(deleted, "deleted")],
                unit=PER_SECOND,
                colors={"put": states.PUT, "deleted": states.DELETED},
                size=HALF,
            ),
            chart(
                13,
                "Net growth",
                "Jobs put minus jobs finished per second, averaged over one minute. Above zero the"
                " queue grows, below zero it shrinks.",
                [query.alias(query.smooth(growth), "growth")],
                unit=PER_SECOND,
                colors={"growth": states.PUT},
                axis=Axis(least=None),
            ),
            chart(
                14,
                "First job waits",
                describe(HEAD_AGE),
                [query.alias(_worst(HEAD_AGE.name), "waiting")],
                unit=unit_of(HEAD_AGE),
                steps=limits.steps(limits.HEAD_AGE),
                colors={"waiting": states.READY},
                runbook="queue-age",
            ),
            chart(
                15,
                "Time to drain",
                "Time until the queue is empty, at the rates of that moment. In a gap, the queue"
                " did not get shorter.",
                [query.alias(_worst(DRAIN.name), "drained in")],
                unit=unit_of(DRAIN),
                style=Style(bridged=False),
                colors={"drained in": states.READY},
            ),
        ],
    )


def _consumers() -> page.Section:
    by_server = query.name_by(ONE.queue("consumer_state"), QUEUE_SERVER)
    return page.Section(
        "Consumers",
        [
            timeline(
                21,
                "Consumer state by server",
                "Shows whether consumers take the jobs of the queue, for the ten servers with the"
                " worst states. Only saturated, stalled and no consumer are problems.",
                query.highest(query.nonempty(by_server), 10),
                states.CONSUMERS,
                size=HALF,
                runbook="queue-consumers",
            ),
            chart(
                22,
                "Consumers",
                _text(
                    "consumers",
                    "Idle consumers wait for a job. Workers needed: how many workers it takes to"
                    " run all jobs, and to drain those that are ready within 5 minutes.",
                ),
                [
                    query.alias(_sum("consumers"), "consumers"),
                    query.alias(_sum("idle_consumers"), "idle"),
                    query.alias(_sum("workers_needed"), "workers needed"),
                ],
                colors={"consumers": "green", "idle": "blue", "workers needed": "orange"},
                style=STEPPED,
                size=HALF,
                runbook="queue-consumers",
            ),
        ],
    )


def _runs() -> page.Section:
    return page.Section(
        "Runs of its jobs",
        [
            chart(
                31,
                "Runs by outcome",
                "Runs per second, by how they ended. Retry and buried: the handler failed. Timeout:"
                " the handler took too long. Lost: the server did not confirm that the job is done,"
                " so it may run twice. Poison: the job killed its workers.",
                queries.outcomes(ONE),
                unit=PER_SECOND,
                colors=states.OUTCOMES,
                style=STACKED,
                runbook="job-failures",
            ),
            chart(
                32,
                "Duration by job",
                describe(
                    series.TIMERS[0],
                    "The lines are the times that 50 %, 95 % and 99 % of the runs stay below. Of"
                    " several workers, the slowest counts.",
                ),
                queries.percentiles(ONE, "duration"),
                unit=MILLISECONDS,
                runbook="job-failures",
            ),
            chart(
                33,
                "Wait by job",
                describe(
                    series.TIMERS[1],
                    "The lines are the times that 50 %, 95 % and 99 % of the waits stay below.",
                ),
                queries.percentiles(ONE, "wait"),
                unit=MILLISECONDS,
                runbook="queue-age",
            ),
        ],
    )


def _buried() -> page.Section:
    return page.Section(
        "Buried and missing jobs",
        [
            chart(
                24,
                "Buried jobs",
                _text("buried"),
                [query.alias(_sum("buried"), "buried")],
                colors={"buried": states.BURIED},
                runbook="queue-buried",
            ),
            chart(
                25,
                "First buried job",
                describe(BURIED_AGE),
                [query.alias(_worst(BURIED_AGE.name), "buried for")],
                unit=unit_of(BURIED_AGE),
                colors={"buried for": states.BURIED},
                runbook="queue-buried",
            ),
            chart(
                26,
                "Missing jobs",
                _text("missing_jobs"),
                [query.alias(_sum("missing_jobs"), "missing")],
                colors={"missing": states.CRITICAL},
                style=STEPPED,
                runbook="queue-server",
            ),
        ],
    )


def _servers() -> page.Section:
    def each(measure: str) -> Query:
        return query.nonempty(query.name_by(ONE.queue(measure), QUEUE_SERVER))

    columns = [
        Column("Consumer state", each("consumer_state"), states=states.CONSUMERS, width=120),
        Column("Ready", each("ready")),
        Column("Reserved", each("reserved")),
        Column("Delayed", each("delayed")),
        Column("Buried", each("buried"), steps=limits.ANY_WARNS),
        Column("Put", each("put_rate"), unit=PER_SECOND, decimals=1),
        Column("Deleted", each("delete_rate"), unit=PER_SECOND, decimals=1),
        Column("Consumers", each("consumers")),
        Column("Idle", each("idle_consumers")),
        Column("Needed", each("workers_needed"), decimals=1),
        Column("First job waits", each(HEAD_AGE.name), unit=unit_of(HEAD_AGE), decimals=0),
        Column("Total put", each("puts")),
        Column("Missing jobs", each("missing_jobs"), steps=limits.ANY_WARNS),
    ]
    return page.Section(
        "By server",
        [
            grid(
                41,
                "The queue on each server now",
                "This queue on each server that has it. Total put: jobs put since the queue was"
                " created. Missing jobs: jobs of this queue that the server lost.",
                "Server",
                columns,
                link=(page.SERVER_PAGE, "var-server=${__value.text}"),
                sort="Ready",
                size=Size(24, 9),
                runbook="queue-consumers",
            )
        ],
    )
