"""The tiles of the Fleet dashboard."""

from beanwatch.grafana.generator.lib import limits, page, queries, query, states
from beanwatch.grafana.generator.lib.measures import (
    PER_SECOND,
    PERCENT,
    describe,
    unit_of,
)
from beanwatch.grafana.generator.lib.panels import (
    Size,
    tile,
)
from beanwatch.grafana.generator.lib.patterns import (
    ALL,
)
from beanwatch.telemetry import series

WIDE_TILE = Size(4, 5)


def tiles() -> page.Section:
    """Build the tiles: what is wrong now, and how much work there is."""
    down = query.count_between(ALL.server("up"), 0, 0)
    silent = query.total(queries.silent(ALL))
    stuck = queries.queues_in(ALL, "stalled", "no_consumer")
    busy = query.percent(ALL.all_workers("busy"), ALL.all_workers("live"))
    return page.Section(
        "",
        [
            tile(
                1,
                "Servers down",
                "Servers that did not answer the collector. Probably nobody can put or take jobs"
                " there.",
                down,
                steps=limits.ANY_PAGES,
                runbook="queue-server",
            ),
            tile(
                2,
                "Servers silent",
                "Servers without a new point for 2 minutes. The collector, the database of"
                " the series or the network between them is down, and all other numbers here are"
                " old.",
                silent,
                steps=limits.ANY_PAGES,
                runbook="metrics-fresh",
            ),
            tile(
                3,
                "Queues stuck",
                "Queues with ready jobs, but without a consumer or with consumers that take no"
                " job.",
                stuck,
                steps=limits.ANY_PAGES,
                runbook="queue-consumers",
            ),
            tile(
                4,
                "Longest wait",
                describe(
                    series.QUEUE.find("head_ready_age"),
                    "The tile shows the longest wait of all queues.",
                ),
                query.newest(query.maximum(ALL.queue("head_ready_age"))),
                unit=unit_of(series.QUEUE.find("head_ready_age")),
                steps=limits.steps(limits.HEAD_AGE),
                decimals=0,
                runbook="queue-age",
            ),
            tile(
                5,
                "Buried jobs",
                describe(
                    series.QUEUE.find("buried"),
                    "They stay buried until somebody kicks or deletes them.",
                ),
                query.newest(query.total(queries.jobs_on_servers(ALL, "buried"))),
                steps=limits.ANY_WARNS,
                runbook="queue-buried",
            ),
            tile(
                6,
                "Workers dead",
                describe(series.WORKERS.find("dead")),
                query.newest(ALL.all_workers("dead")),
                steps=limits.ANY_PAGES,
                runbook="worker-heartbeat",
            ),
            tile(
                7,
                "Workers hung",
                describe(
                    series.WORKERS.find("hung"),
                    "Workers whose job is past its deadline count too.",
                ),
                query.newest(ALL.all_workers("hung")),
                steps=limits.ANY_WARNS,
                runbook="worker-heartbeat",
            ),
            tile(
                8,
                "Failed runs",
                "The share of the runs of the last 10 minutes that failed: their outcome is retry,"
                " buried, timeout, poison or invalid.",
                queries.failed_share(ALL),
                unit=PERCENT,
                steps=limits.steps(limits.FAILED),
                decimals=1,
                runbook="job-failures",
            ),
            tile(
                11,
                "Ready",
                describe(series.QUEUE.find("ready")),
                query.newest(query.total(queries.jobs_on_servers(ALL, "ready"))),
                good=states.READY,
                graph=True,
                size=WIDE_TILE,
            ),
            tile(
                12,
                "Put",
                describe(series.QUEUE.find("put_rate")),
                query.newest(query.total(ALL.queue("put_rate"))),
                unit=PER_SECOND,
                good=states.PUT,
                graph=True,
                decimals=1,
                size=WIDE_TILE,
            ),
            tile(
                13,
                "Deleted",
                describe(series.QUEUE.find("delete_rate")),
                query.newest(query.total(ALL.queue("delete_rate"))),
                unit=PER_SECOND,
                good=states.DELETED,
                graph=True,
                decimals=1,
                size=WIDE_TILE,
            ),
            tile(
                14,
                "Reserved",
                describe(series.QUEUE.find("reserved")),
                query.newest(query.total(queries.jobs_on_servers(ALL, "reserved"))),
                good=states.RESERVED,
                graph=True,
                size=WIDE_TILE,
            ),
            tile(
                15,
                "Workers live",
                describe(
                    series.WORKERS.find("live"), "A live worker may be in any state but dead."
                ),
                query.newest(ALL.all_workers("live")),
                good=states.LIVE,
                graph=True,
                size=WIDE_TILE,
                runbook="worker-heartbeat",
            ),
            tile(
                16,
                "Workers busy",
                "The share of live workers that run a job. If it stays near 100 %, add workers.",
                query.newest(busy),
                unit=PERCENT,
                good=states.LIVE,
                graph=True,
                decimals=0,
                size=WIDE_TILE,
                runbook="worker-heartbeat",
            ),
        ],
    )
