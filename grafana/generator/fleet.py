"""The Fleet dashboard: is everything all right, and if not, where is the problem?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator import beanstalkd
from beanwatch.grafana.generator.lib import graphite, limits, page, queries, states
from beanwatch.grafana.generator.lib.measures import (
    MILLISECONDS,
    PER_SECOND,
    PERCENT,
    describe,
    unit_of,
)
from beanwatch.grafana.generator.lib.panels import (
    STACKED,
    Axis,
    Size,
    Style,
    chart,
    tile,
    timeline,
)
from beanwatch.grafana.generator.lib.patterns import (
    JOB,
    JOB_QUEUE,
    QUEUE,
    QUEUE_SERVER,
    SERVER,
    Patterns,
)
from beanwatch.grafana.generator.lib.tables import Column, grid
from beanwatch.queues.consumers import CODES
from beanwatch.telemetry import series

ALL = Patterns()
SOME = Patterns(queues="$queues")  # only the queues that the box "Queues" selects
WIDE_TILE = Size(4, 5)
LARGE, SMALL = Size(12, 9), Size(8, 6)
LEGEND_RIGHT = Style(legend_right=True)


def build() -> Dashboard:
    """Build the dashboard `beanwatch-fleet`."""
    sections = (_now(), _queues(), _flow(), _workers(), _servers(), _collectors())
    return page.page(
        page.FLEET,
        "beanwatch / Fleet",
        "Is everything all right? Every server, queue and worker at a glance.",
        [page.servers(), _queues_shown()],
        sections,
        runbook="queue-depth",
    )


def _queues_shown() -> page.Variable:
    about = "The queues that the table and the charts show: a name, or a pattern such as email_*."
    return page.text("queues", "Queues", about, "*")


def _now() -> page.Section:
    down = graphite.count_between(ALL.server("up"), 0, 0)
    silent = graphite.total(graphite.silent(ALL.collector("success")))
    stuck = graphite.count_between(
        ALL.queue("consumer_state"), CODES["stalled"], CODES["no_consumer"]
    )
    busy = graphite.percent(ALL.all_workers("busy"), ALL.all_workers("live"))
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
                "Servers without a new point for 2 minutes. The collector, Graphite or the network"
                " between them is down, and all other numbers here are old.",
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
                graphite.newest(graphite.maximum(ALL.queue("head_ready_age"))),
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
                graphite.newest(graphite.total(ALL.server("buried"))),
                steps=limits.ANY_WARNS,
                runbook="queue-buried",
            ),
            tile(
                6,
                "Workers dead",
                describe(series.WORKERS.find("dead")),
                graphite.newest(ALL.all_workers("dead")),
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
                graphite.newest(ALL.all_workers("hung")),
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
                graphite.newest(graphite.total(ALL.server("ready"))),
                good=states.READY,
                graph=True,
                size=WIDE_TILE,
            ),
            tile(
                12,
                "Put",
                describe(series.QUEUE.find("put_rate")),
                graphite.newest(graphite.total(ALL.queue("put_rate"))),
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
                graphite.newest(graphite.total(ALL.queue("delete_rate"))),
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
                graphite.newest(graphite.total(ALL.server("reserved"))),
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
                graphite.newest(ALL.all_workers("live")),
                good=states.LIVE,
                graph=True,
                size=WIDE_TILE,
                runbook="worker-heartbeat",
            ),
            tile(
                16,
                "Workers busy",
                "The share of live workers that run a job. If it stays near 100 %, add workers.",
                graphite.newest(busy),
                unit=PERCENT,
                good=states.LIVE,
                graph=True,
                decimals=0,
                size=WIDE_TILE,
                runbook="worker-heartbeat",
            ),
        ],
    )


def _by_queue(measure: str) -> str:
    """Return the query of one series for each queue, combined over the chosen servers."""
    how = "max" if series.QUEUE.find(measure).is_worst else "sum"
    return graphite.nonempty(graphite.group_by(SOME.queue(measure), QUEUE, how=how))


def _queues() -> page.Section:
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
                "Every queue, combined over the servers chosen above. Idle: consumers that wait for"
                " a job. First job waits: how long the first ready job has been ready. Drained in:"
                " the time until the queue is empty at the present rates; never: it does not get"
                " shorter. n/a: not known, or the queue system does not report it.",
                "Queue",
                columns,
                link=f"/d/{page.QUEUE}?{page.KEPT_VARIABLES}&${{server:queryparam}}"
                "&var-queue=${__value.text}",
                sort="Ready",
                size=Size(24, 11),
                runbook="queue-consumers",
            ),
            chart(
                22,
                "Ready jobs: longest queues",
                "The ten queues with the most ready jobs. A line rises when jobs come in faster"
                " than workers finish them.",
                [graphite.top_nonzero(_by_queue("ready"), graphite.MANY)],
                style=LEGEND_RIGHT,
                size=LARGE,
                runbook="queue-depth",
            ),
            chart(
                23,
                "First ready job: longest waits",
                describe(head_age, "The chart shows the ten queues with the longest wait."),
                [graphite.top_nonzero(_by_queue("head_ready_age"), graphite.MANY)],
                unit=unit_of(head_age),
                steps=limits.steps(limits.HEAD_AGE),
                style=LEGEND_RIGHT,
                size=LARGE,
                runbook="queue-age",
            ),
        ],
    )


def _flow() -> page.Section:
    return page.Section(
        "Flow",
        [
            chart(
                31,
                "Put and deleted",
                "Jobs put and jobs finished per second, over all queues. While put is above"
                " deleted, the number of jobs grows.",
                [
                    graphite.alias(graphite.total(ALL.queue("put_rate")), "put"),
                    graphite.alias(graphite.total(ALL.queue("delete_rate")), "deleted"),
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
                [graphite.top_nonzero(_by_queue("buried"))],
                runbook="queue-buried",
            ),
        ],
    )


def _workers() -> page.Section:
    counts = SOME.outcomes(*states.FAILURES, stat="count")
    failures = graphite.nonempty(graphite.group_by(counts, JOB_QUEUE, JOB))
    failed = graphite.name_by(graphite.moving(failures, limits.FAILED_SPAN), 0, 1)
    slowest = graphite.group_by(SOME.timer("duration", "upper_95"), JOB, how="max")
    in_a_state = (ALL.all_workers(state) for state in states.ALL_WORKERS if state != "dead")
    idle = graphite.alias(graphite.subtract(ALL.all_workers("live"), *in_a_state), "idle")
    by_state = (graphite.alias(ALL.all_workers(state), state) for state in states.ALL_WORKERS)
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
                [graphite.top_nonzero(failed, known=ALL.all_workers("live"))],
                runbook="job-failures",
            ),
            chart(
                43,
                "Slowest jobs (95th percentile)",
                "How long runs take: 95 % of them take less. The chart shows the six slowest kinds"
                " of job.",
                [graphite.highest(graphite.nonempty(slowest))],
                unit=MILLISECONDS,
                runbook="job-failures",
            ),
        ],
    )


def _servers() -> page.Section:
    def each(measure: str) -> str:
        return graphite.nonempty(graphite.name_by(ALL.server(measure), SERVER))

    def rate(measure: str) -> str:
        return graphite.nonempty(graphite.group_by(ALL.queue(measure), QUEUE_SERVER))

    columns = [
        Column("State", each("up"), states=states.ANSWERS, width=90),
        Column("Draining", each("draining"), states=states.DRAINING, width=90),
        Column("Ready", each("ready")),
        Column("Reserved", each("reserved")),
        Column("Buried", each("buried"), steps=limits.ANY_WARNS),
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
                "Every queue server. Draining: it refuses new jobs. Missing jobs: jobs that it"
                f" lost. {beanstalkd.COLUMNS_TEXT}",
                "Server",
                columns,
                link=f"/d/{page.SERVER_PAGE}?{page.KEPT_VARIABLES}&var-server=${{__value.text}}",
                size=Size(24, 6),
                runbook="queue-server",
            )
        ],
    )


def _collectors() -> page.Section:
    def each(measure: str) -> str:
        return graphite.nonempty(graphite.name_by(ALL.collector(measure), SERVER))

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
                graphite.lowest(each("success"), 8),
                states.POLLS,
                worst="min",
                size=SMALL,
                runbook="metrics-fresh",
            ),
            chart(
                62,
                "Duration of a poll",
                text("poll_seconds", "It must stay well below the interval."),
                [graphite.highest(each("poll_seconds"))],
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
                    graphite.alias(graphite.maximum(ALL.collector("backlog")), "kept"),
                    graphite.alias(graphite.maximum(ALL.collector("dropped")), "lost"),
                ],
                colors={"kept": "blue", "lost": "red"},
                size=SMALL,
                runbook="metrics-fresh",
            ),
            chart(
                64,
                "Points per poll",
                "Points that each poll sends to Graphite, by server.",
                [graphite.highest(each("points"))],
                runbook="metrics-fresh",
            ),
            chart(
                65,
                "Queues read",
                text("queues", "The queues over the limit (max_queues) share one series."),
                [
                    graphite.alias(graphite.total(ALL.collector("queues")), "read"),
                    graphite.alias(
                        graphite.total(ALL.collector("queues_skipped")), "over the limit"
                    ),
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
                [graphite.highest(each("collisions"))],
                runbook="metrics-fresh",
            ),
        ],
    )
