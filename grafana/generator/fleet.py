"""The Fleet dashboard: is everything fine, and if not, where is it not."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator import functions as g
from beanwatch.grafana.generator import limits, measures, page, words
from beanwatch.grafana.generator.panels import PER_SECOND, chart, tile, timeline
from beanwatch.grafana.generator.series import JOB, JOB_QUEUE, QUEUE, SERVER, Series
from beanwatch.grafana.generator.tables import Column, grid
from beanwatch.queues.consumers import CODES

ALL = Series()
SOME = Series(queues="$queues")  # the queues that the table and the charts are about
UP = ALL.server("up")


def build() -> Dashboard:
    sections = (_verdict(), _queues(), _flow(), _workers(), _servers(), _collectors())
    return page.page(
        page.FLEET,
        "beanwatch / Fleet",
        "Is everything fine? Every server, queue and worker at a glance.",
        [page.servers(), _queues_shown()],
        sections,
        to="queue-depth",
    )


def _queues_shown() -> page.Variable:
    about = "Which queues the table and the charts show: a name or a pattern such as email_*."
    return page.text("queues", "Queues", about, "*")


def _verdict() -> page.Section:
    down = g.count_between(ALL.server("up"), 0, 0)
    silent = g.total(g.silent(ALL.collector("success")))
    unserved = g.count_between(ALL.queue("consumer_state"), CODES["stalled"], CODES["no_watcher"])
    put, deleted = ALL.server("total-jobs"), ALL.server("cmd-delete")
    return page.Section(
        "",
        [
            tile(
                1,
                "Servers down",
                "Servers that did not answer the collector. Nothing is put or drained there.",
                down,
                steps=limits.ANY_PAGES,
                to="queue-server",
            ),
            tile(
                2,
                "Servers unseen",
                "Servers of which nothing arrived for 2 minutes: the collector, Graphite or the way"
                " between is broken, and every other number here is old.",
                silent,
                steps=limits.ANY_PAGES,
                to="metrics-fresh",
            ),
            tile(
                3,
                "Queues stuck",
                "Queues with ready jobs that no worker watches, or whose workers take none.",
                unserved,
                steps=limits.ANY_PAGES,
                to="queue-consumers",
            ),
            tile(
                4,
                "Oldest head",
                "How long the job that is next in its queue has been waiting, in the worst queue.",
                g.fresh(g.worst(ALL.queue("head_ready_age"))),
                unit="s",
                steps=limits.steps(limits.HEAD_AGE),
                decimals=0,
                to="queue-age",
            ),
            tile(
                5,
                "Buried jobs",
                "Jobs that were set aside after failing. They wait for somebody to look and kick.",
                g.fresh(g.total(ALL.server("current-jobs-buried"))),
                steps=limits.ANY_WARNS,
                to="queue-buried",
            ),
            tile(
                6,
                "Workers dead",
                "Workers whose heartbeat stopped without a goodbye.",
                g.fresh(ALL.fleet("dead")),
                steps=limits.ANY_PAGES,
                to="worker-heartbeat",
            ),
            tile(
                7,
                "Workers hung",
                "Workers that are alive but make no progress, or are past their job's deadline.",
                g.fresh(ALL.fleet("hung")),
                steps=limits.ANY_WARNS,
                to="worker-heartbeat",
            ),
            tile(
                8,
                "Failed runs",
                "The share of runs in the last 10 minutes that failed: retried, buried, timed out,"
                " poisonous or not understood.",
                measures.failed_share(ALL),
                unit="percent",
                steps=limits.steps(limits.FAILED),
                decimals=1,
                to="job-failures",
            ),
            tile(
                11,
                "Ready",
                "Jobs that could be worked on now.",
                g.fresh(g.total(ALL.server("current-jobs-ready"))),
                good=words.READY,
                graph=True,
                width=4,
                height=5,
            ),
            tile(
                12,
                "Put",
                "Jobs that producers put, a second.",
                g.fresh(g.total(g.per_second(put))),
                unit=PER_SECOND,
                good=words.PUT,
                graph=True,
                width=4,
                height=5,
                decimals=1,
            ),
            tile(
                13,
                "Deleted",
                "Jobs that were finished and deleted, a second.",
                g.fresh(g.total(g.per_second(deleted))),
                unit=PER_SECOND,
                good=words.DELETED,
                graph=True,
                width=4,
                height=5,
                decimals=1,
            ),
            tile(
                14,
                "Being worked on",
                "Jobs that a worker holds at this moment.",
                g.fresh(g.total(ALL.server("current-jobs-reserved"))),
                good=words.RESERVED,
                graph=True,
                width=4,
                height=5,
            ),
            tile(
                15,
                "Workers live",
                "Workers whose heartbeat is fresh, whatever they do.",
                g.fresh(ALL.fleet("live")),
                good=words.LIVE,
                graph=True,
                width=4,
                height=5,
                to="worker-heartbeat",
            ),
            tile(
                16,
                "Workers busy",
                "The share of live workers that run a job. Near 100 % for long: add workers.",
                g.fresh(g.percent(ALL.fleet("busy"), ALL.fleet("live"))),
                unit="percent",
                good=words.LIVE,
                graph=True,
                width=4,
                height=5,
                decimals=0,
                to="worker-heartbeat",
            ),
        ],
    )


def _queues() -> page.Section:
    def each(stat: str, how: str = "sum") -> str:
        return g.alive(g.by(SOME.queue(stat), QUEUE, how=how))

    swept = g.total(SOME.queue("current-jobs-ready"))
    drained = g.named(g.or_never(each("drain_seconds", "max"), swept), 0)
    columns = [
        Column("Consumers", each("consumer_state", "max"), words=words.CONSUMERS, width=100),
        Column("Ready", each("current-jobs-ready")),
        Column("Reserved", each("current-jobs-reserved")),
        Column("Delayed", each("current-jobs-delayed")),
        Column("Buried", each("current-jobs-buried"), steps=limits.ANY_WARNS),
        Column("Put /s", each("put_rate"), decimals=1),
        Column("Deleted /s", each("delete_rate"), decimals=1),
        Column("Watching", each("current-watching")),
        Column("Waiting", each("current-waiting")),
        Column(
            "Head age",
            each("head_ready_age", "max"),
            unit="s",
            steps=limits.steps(limits.HEAD_AGE),
            decimals=0,
        ),
        Column("Drained in", drained, unit="s", words=words.DRAINED, decimals=0),
    ]
    return page.Section(
        "Queues",
        [
            grid(
                21,
                "Queues now",
                "Every queue, over the servers chosen above. Waiting: workers that ask for a job"
                " right now. Drained in: at the present rates.",
                "Queue",
                columns,
                link=f"/d/{page.QUEUE}?{page.KEPT}&${{server:queryparam}}&var-queue=${{__value.text}}",
                sort="Ready",
                height=11,
                to="queue-consumers",
            ),
            chart(
                22,
                "Ready jobs: longest queues",
                "The ten queues with the longest queues. A rising line: jobs come in faster than"
                " they are worked off.",
                [g.found(g.alive(g.by(SOME.queue("current-jobs-ready"), QUEUE)), UP, g.TOP)],
                side=True,
                width=12,
                height=9,
                to="queue-depth",
            ),
            chart(
                23,
                "Head of the queue: longest waits",
                "How long the next job has been waiting, in the ten worst queues.",
                [g.found(g.alive(g.by(SOME.queue("head_ready_age"), QUEUE, how="max")), UP, g.TOP)],
                unit="s",
                steps=limits.steps(limits.HEAD_AGE),
                side=True,
                width=12,
                height=9,
                to="queue-age",
            ),
        ],
    )


def _flow() -> page.Section:
    put, deleted = ALL.server("total-jobs"), ALL.server("cmd-delete")
    return page.Section(
        "Flow",
        [
            chart(
                31,
                "In and out",
                "Jobs put and jobs deleted, a second, over all queues. Put above deleted: a backlog"
                " is growing.",
                [
                    g.alias(g.total(g.per_second(put)), "put"),
                    g.alias(g.total(g.per_second(deleted)), "deleted"),
                ],
                unit=PER_SECOND,
                colors={"put": words.PUT, "deleted": words.DELETED},
            ),
            chart(
                32,
                "Runs by outcome",
                "How the workers' runs ended, a second.",
                measures.outcomes(ALL),
                unit=PER_SECOND,
                colors=words.OUTCOMES,
                stacked=True,
                to="job-failures",
            ),
            chart(
                33,
                "Buried: most",
                "The six queues with the most buried jobs.",
                [g.found(g.alive(g.by(SOME.queue("current-jobs-buried"), QUEUE)), UP)],
                to="queue-buried",
            ),
        ],
    )


def _workers() -> page.Section:
    failures = g.alive(g.by(SOME.outcomes(*words.FAILURES, stat="count"), JOB_QUEUE, JOB))
    failed = g.named(g.over(failures, limits.FAILED_SPAN), 0, 1)
    resting = (ALL.fleet(state) for state in words.FLEET if state != "dead")
    idle = g.alias(g.less(ALL.fleet("live"), *resting), "idle")
    return page.Section(
        "Workers",
        [
            chart(
                41,
                "Workers by state",
                "What the workers do. Dead and hung ones are missing where jobs wait.",
                [idle, *(g.alias(ALL.fleet(state), state) for state in words.FLEET)],
                colors={"idle": "super-light-green", **words.FLEET},
                stacked=True,
                to="worker-heartbeat",
            ),
            chart(
                42,
                "Failed runs by job",
                "Runs that did not end well in the 10 minutes before, for the six worst kinds of"
                " job.",
                [g.found(failed, ALL.fleet("live"))],
                to="job-failures",
            ),
            chart(
                43,
                "Slowest jobs (95 % take less)",
                "How long a run takes, for the six slowest kinds of job.",
                [g.top(g.alive(g.by(SOME.timer("duration", "upper_95"), JOB, how="max")))],
                unit="ms",
                to="job-failures",
            ),
        ],
    )


def _servers() -> page.Section:
    def each(stat: str, rate: bool = False) -> str:
        series = ALL.server(stat)
        return g.alive(g.named(g.per_second(series) if rate else series, SERVER))

    columns = [
        Column("State", each("up"), words=words.ANSWERS, width=90),
        Column("Draining", each("draining"), words=words.DRAINING, width=90),
        Column("Ready", each("current-jobs-ready")),
        Column("Reserved", each("current-jobs-reserved")),
        Column("Buried", each("current-jobs-buried"), steps=limits.ANY_WARNS),
        Column("Queues", each("current-tubes")),
        Column("Connections", each("current-connections")),
        Column("Put /s", each("total-jobs", rate=True), decimals=1),
        Column("Deleted /s", each("cmd-delete", rate=True), decimals=1),
        Column(
            "CPU",
            measures.cpu(ALL),
            unit="percent",
            decimals=1,
        ),
        Column("Rejected puts", each("rejected_puts")),
        Column("Drift", each("drift")),
        Column("Up for", each("uptime"), unit="dtdurations"),
    ]
    return page.Section(
        "Servers",
        [
            grid(
                51,
                "Servers now",
                "Every beanstalkd. Drift: jobs that are in no state any more. Rejected puts: since"
                " the server started.",
                "Server",
                columns,
                link=f"/d/{page.SERVER_PAGE}?{page.KEPT}&var-server=${{__value.text}}",
                height=6,
                to="queue-server",
            )
        ],
    )


def _collectors() -> page.Section:
    def each(stat: str) -> str:
        return g.alive(g.named(ALL.collector(stat), SERVER))

    return page.Section(
        "Collector",
        [
            timeline(
                61,
                "Polls",
                "Whether the collector could read each server, the worst eight. Gaps: the"
                " collector did not run.",
                g.lowest(each("success"), 8),
                words.POLLS,
                worst="min",
                width=8,
                height=6,
                to="metrics-fresh",
            ),
            chart(
                62,
                "Time of a poll",
                "How long reading one server takes. It has to stay well below the interval.",
                [g.top(each("poll_seconds"))],
                unit="s",
                soft_most=None,
                height=6,
                to="metrics-fresh",
            ),
            chart(
                63,
                "Points waiting",
                "Points that were not sent yet: those of one poll are usual. A rising line:"
                " Graphite does not take them, and in the end they are lost.",
                [
                    g.alias(g.worst(ALL.collector("backlog")), "waiting"),
                    g.alias(g.worst(ALL.collector("dropped")), "lost"),
                ],
                colors={"waiting": "blue", "lost": "red"},
                height=6,
                to="metrics-fresh",
            ),
            chart(
                64,
                "Points a poll",
                "How much is sent to Graphite each time, by server.",
                [g.top(each("points"))],
                to="metrics-fresh",
            ),
            chart(
                65,
                "Queues read",
                "Queues that were read, and queues over the limit that were not.",
                [
                    g.alias(g.total(ALL.collector("queues")), "read"),
                    g.alias(g.total(ALL.collector("queues_skipped")), "over the limit"),
                ],
                colors={"read": "blue", "over the limit": "orange"},
                to="metrics-fresh",
            ),
            chart(
                66,
                "Names that collide",
                "Queues whose names differ only in characters that Graphite cannot hold: they share"
                " their series.",
                [g.top(each("collisions"))],
                to="metrics-fresh",
            ),
        ],
    )
