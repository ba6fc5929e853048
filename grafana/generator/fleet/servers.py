"""The sections of the Fleet dashboard on queue servers, and on the collector that reads them."""

from beanwatch.grafana.generator import beanstalkd
from beanwatch.grafana.generator.lib import limits, page, queries, query, states
from beanwatch.grafana.generator.lib.measures import (
    PER_SECOND,
    describe,
    unit_of,
)
from beanwatch.grafana.generator.lib.panels import (
    Axis,
    Size,
    chart,
    timeline,
)
from beanwatch.grafana.generator.lib.patterns import (
    ALL,
    QUEUE_SERVER,
    SERVER,
)
from beanwatch.grafana.generator.lib.query import Query
from beanwatch.grafana.generator.lib.tables import Column, grid
from beanwatch.telemetry import series

SMALL = Size(8, 6)


def servers() -> page.Section:
    """Build the section with the table of all queue servers."""

    def each(measure: str) -> Query:
        return query.nonempty(query.name_by(ALL.server(measure), SERVER))

    def jobs(state: str) -> Query:
        return query.nonempty(queries.jobs_on_servers(ALL, state))

    def rate(measure: str) -> Query:
        return query.nonempty(query.group_by(ALL.queue(measure), QUEUE_SERVER))

    columns = [
        Column("State", each("up"), states=states.ANSWERS, width=90),
        Column("Problem", each("problem"), states=states.PROBLEMS, width=90),
        Column("Draining", each("draining"), states=states.DRAINING, width=90),
        Column("Ready", jobs("ready")),
        Column("Reserved", jobs("reserved")),
        Column("Buried", jobs("buried"), steps=limits.ANY_WARNS),
        Column("Queues", each("queues")),
        Column("Connections", each("connections")),
        Column("Put", rate("put_rate"), unit=PER_SECOND, decimals=1),
        Column("Deleted", rate("delete_rate"), unit=PER_SECOND, decimals=1),
        Column("Missing jobs", each("missing_jobs"), steps=limits.ANY_WARNS),
        Column("Uptime", each("uptime"), unit="dtdurations"),
        *beanstalkd.server_columns(ALL),
    ]
    return page.Section(
        "Servers",
        [
            grid(
                51,
                "Servers now",
                "Every queue server, those that are down first. Problem: the worst fault that the"
                " server itself shows. Draining: it refuses new jobs."
                f" Missing jobs: jobs that it lost. {beanstalkd.COLUMNS_TEXT}",
                "Server",
                columns,
                link=(page.SERVER_PAGE, "var-server=${__value.text}"),
                sort="State",
                lowest_first=True,
                size=Size(24, 11),
                runbook="queue-server",
            )
        ],
    )


def collectors() -> page.Section:
    """Build the section of the collector: its polls, and the points that it sends."""

    def each(measure: str) -> Query:
        return query.nonempty(query.name_by(ALL.collector(measure), SERVER))

    def text(measure: str, more: str) -> str:
        return describe(series.COLLECTOR.find(measure), more)

    return page.Section(
        "Collector",
        [
            timeline(
                61,
                "Polls",
                "Shows whether the collector could read each server. If there are more than eight,"
                " those with failed polls come first. In a gap, the collector did not run.",
                query.lowest(each("success"), 8),
                states.POLLS,
                worst="min",
                size=SMALL,
                runbook="metrics-fresh",
            ),
            chart(
                62,
                "Duration of a poll",
                text("poll_seconds", "It must stay well below the interval."),
                [query.highest(each("poll_seconds"))],
                unit=unit_of(series.COLLECTOR.find("poll_seconds")),
                axis=Axis(soft_most=None),
                size=SMALL,
                runbook="metrics-fresh",
            ),
            chart(
                63,
                "Points not sent yet",
                text(
                    "backlog",
                    "The points of one poll are usual. If the line rises, Graphite does not accept"
                    " points, and they are lost once the memory for them is full.",
                ),
                [
                    query.alias(query.maximum(ALL.collector("backlog")), "kept"),
                    query.alias(query.maximum(ALL.collector("dropped")), "lost"),
                ],
                colors={"kept": "blue", "lost": "red"},
                size=SMALL,
                runbook="metrics-fresh",
            ),
            chart(
                64,
                "Points per poll",
                "Points that each poll sends to Graphite, by server.",
                [query.highest(each("points"))],
                runbook="metrics-fresh",
            ),
            chart(
                65,
                "Queues read",
                text("queues", "The queues over the limit (max_queues) share one series."),
                [
                    query.alias(query.total(ALL.collector("queues")), "read"),
                    query.alias(query.total(ALL.collector("queues_skipped")), "over the limit"),
                ],
                colors={"read": "blue", "over the limit": "orange"},
                runbook="metrics-fresh",
            ),
            chart(
                66,
                "Colliding names",
                text(
                    "collisions",
                    "These names differ only in characters that Graphite does not allow.",
                ),
                [query.highest(each("collisions"))],
                runbook="metrics-fresh",
            ),
        ],
    )
