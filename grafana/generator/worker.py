"""The Worker dashboard: is every worker alive, what does it do, how do its runs end?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator.lib import limits, page, queries, query, states
from beanwatch.grafana.generator.lib.measures import (
    MILLISECONDS,
    PER_SECOND,
    PERCENT,
    describe,
    unit_of,
)
from beanwatch.grafana.generator.lib.panels import (
    BARS,
    STACKED,
    Axis,
    Size,
    chart,
    tile,
    timeline,
)
from beanwatch.grafana.generator.lib.patterns import (
    JOB_WORKER,
    WORKER_HOST,
    WORKER_NAME,
    WORKER_STATE,
    Patterns,
)
from beanwatch.grafana.generator.lib.query import Query
from beanwatch.grafana.generator.lib.source import Source
from beanwatch.grafana.generator.lib.tables import Column, grid
from beanwatch.store.health import HEALTH
from beanwatch.telemetry import series

QUARTER = Size(6, 8)  # of a row
SOME = Patterns(servers="*", hosts="$host", workers="$worker")
BUSY, MEMORY = series.WORKER.find("busy"), series.WORKER.find("rss")
BEAT_AGE, DISK = series.WORKER_SEEN.find("beat_age"), series.WORKER_SEEN.find("disk_free")
WORKERS = series.worker("$prefix", "HOST.NAME", "state").partition(".HOST")[0]
PER_WORKER_TEXT = (
    "The runs of a single worker are shown only if it sends series of its own"
    " (--metrics-per-worker, or graphite://), or if Prometheus scrapes its own page (--listen)."
)


def build(source: Source) -> Dashboard:
    """Build the dashboard `beanwatch-worker`."""
    return page.page(
        source,
        page.WORKER,
        "beanwatch / Worker",
        "The workers: are they alive, what do they do, how do their runs end?",
        [
            _hosts,
            _workers,
        ],
        [_now(), _state(), _runs(), _process()],
        runbook="worker-heartbeat",
    )


def _hosts(source: Source) -> page.Made:
    found = Query(f"{WORKERS}.*", page.values_of(WORKER_STATE, "worker"))
    about = "The hosts that workers run on."
    return page.choice(source, "host", "Host", about, found, part="/^([^.]*)[.]/")


def _workers(source: Source) -> page.Made:
    on_host = page.values_of(WORKER_STATE, "worker", 'worker=~"$host[.].*"')
    found = Query(f"{WORKERS}.$host.*", on_host)
    about = "The names of the workers."
    return page.choice(source, "worker", "Worker", about, found, part="/^[^.]*[.](.*)/")


def _named(pattern: Query) -> Query:
    return query.name_by(query.nonempty(pattern), WORKER_HOST, WORKER_NAME)


def _each(measure: str) -> Query:
    return _named(SOME.worker(measure))


def _now() -> page.Section:
    live = (state for state in HEALTH if state != "dead")
    return page.Section(
        "",
        [
            tile(
                1,
                "Live",
                describe(
                    series.WORKERS.find("live"), "A live worker may be in any state but dead."
                ),
                queries.workers_in(SOME, *live),
                good=states.LIVE,
                graph=True,
            ),
            tile(
                2,
                "Dead",
                describe(series.WORKERS.find("dead")),
                queries.workers_in(SOME, "dead"),
                steps=limits.ANY_PAGES,
            ),
            tile(
                3,
                "Hung",
                describe(
                    series.WORKERS.find("hung"),
                    "Workers whose job is past its deadline count too.",
                ),
                queries.workers_in(SOME, "hung"),
                steps=limits.ANY_WARNS,
            ),
            tile(
                4,
                "Blocked",
                describe(series.WORKERS.find("blocked"), "They take no jobs."),
                queries.workers_in(SOME, "blocked"),
                steps=limits.ANY_WARNS,
            ),
            tile(
                5,
                "Oldest heartbeat",
                "Age of the oldest heartbeat. A worker counts as dead after 10 seconds or 3"
                " intervals, whichever is longer.",
                query.newest(query.maximum(query.nonempty(SOME.worker("beat_age")))),
                unit=unit_of(BEAT_AGE),
                steps=limits.BEAT_AGE,
                decimals=0,
            ),
            tile(
                6,
                "Busy",
                describe(BUSY, "The tile shows the mean. If it stays near 100 %, add workers."),
                query.newest(query.average(query.nonempty(SOME.worker("busy")))),
                unit=unit_of(BUSY),
                good=states.LIVE,
                graph=True,
                decimals=0,
            ),
            tile(
                7,
                "Runs",
                f"Runs per second that ended, in any way. {PER_WORKER_TEXT}",
                query.newest(query.total(SOME.outcomes())),
                unit=PER_SECOND,
                good=states.DELETED,
                graph=True,
                decimals=1,
            ),
            tile(
                8,
                "Failed runs",
                "The share of the runs of the last 10 minutes that failed: their outcome is retry,"
                f" buried, timeout, poison or invalid. {PER_WORKER_TEXT}",
                queries.failed_share(SOME),
                unit=PERCENT,
                steps=limits.steps(limits.FAILED),
                decimals=1,
                runbook="job-failures",
            ),
        ],
    )


def _state() -> page.Section:
    # In series of jobs, a worker is one node, <host>_<name>. Elsewhere host and name are two nodes.
    # To get the same names, replace the first `_` by a dot: a host's name has no `_`.
    runs = query.nonempty(query.group_by(SOME.outcomes(), JOB_WORKER))
    single = f"exclude({runs.graphite}, '^{series.ALL_WORKERS}$')"
    runs = runs._replace(graphite=rf"aliasSub({single}, '^([^_]*)_', '\1.')")
    return page.Section(
        "State",
        [
            timeline(
                11,
                "State of each worker",
                "The fifteen workers with the worst states. Dead: no heartbeat. Hung: no progress."
                " Blocked: it takes no jobs. A state that is shorter than the collector's interval"
                " may be missing.",
                query.highest(_each("state"), 15),
                states.WORKERS,
                size=Size(24, 10),
            ),
            grid(
                12,
                "Workers now",
                "Every worker that has had a point in the last 2 minutes.",
                "Worker",
                [
                    Column("State", _each("state"), states=states.WORKERS, width=110),
                    Column(
                        "Heartbeat age",
                        _each("beat_age"),
                        unit=unit_of(BEAT_AGE),
                        steps=limits.BEAT_AGE,
                        decimals=0,
                    ),
                    Column("Busy", _each("busy"), unit=unit_of(BUSY), decimals=0),
                    Column("Runs", runs, unit=PER_SECOND, decimals=2, note=PER_WORKER_TEXT),
                    Column("Memory", _each("rss"), unit=unit_of(MEMORY)),
                    Column("Disk free", _each("disk_free"), unit=unit_of(DISK)),
                    Column("Restarts", _each("restarts")),
                    Column("Reconnects", _each("reconnects")),
                    Column("Metrics lost", _each("dropped_metrics")),
                ],
                size=Size(24, 9),
            ),
        ],
    )


def _runs() -> page.Section:
    return page.Section(
        "Runs",
        [
            chart(
                21,
                "Runs by outcome",
                "Runs per second, by how they ended. Retry, buried, timeout, poison and invalid are"
                f" failures. {PER_WORKER_TEXT}",
                queries.outcomes(SOME),
                unit=PER_SECOND,
                colors=states.OUTCOMES,
                style=STACKED,
                runbook="job-failures",
            ),
            chart(
                22,
                "Duration by job",
                describe(
                    series.TIMERS[0],
                    "The lines are the times that 50 %, 95 % and 99 % of the runs stay below. Of"
                    f" several workers, the slowest counts. {PER_WORKER_TEXT}",
                ),
                queries.percentiles(SOME, "duration"),
                unit=MILLISECONDS,
                runbook="job-failures",
            ),
            chart(
                23,
                "Wait by job",
                describe(
                    series.TIMERS[1],
                    "The lines are the times that 50 %, 95 % and 99 % of the waits stay below."
                    f" {PER_WORKER_TEXT}",
                ),
                queries.percentiles(SOME, "wait"),
                unit=MILLISECONDS,
                runbook="queue-age",
            ),
        ],
    )


def _process() -> page.Section:
    def per_minute(measure: str) -> Query:
        return query.top_nonzero(_named(query.per_minute(SOME.worker(measure))))

    return page.Section(
        "Process",
        [
            chart(
                31,
                "Busy",
                describe(BUSY, "The chart shows the six busiest workers."),
                [query.highest(_each("busy"))],
                unit=unit_of(BUSY),
                axis=Axis(most=1),
            ),
            chart(
                32,
                "Memory",
                describe(
                    MEMORY,
                    "The chart shows the six largest workers. A line that only rises is a leak;"
                    " --max-memory restarts such a worker.",
                ),
                [query.highest(_each("rss"))],
                unit=unit_of(MEMORY),
            ),
            chart(
                33,
                "Heartbeat age",
                "The six oldest heartbeats. The heartbeat of a live worker is seldom older than its"
                " interval, 1 second by default.",
                [query.highest(_each("beat_age"))],
                unit=unit_of(BEAT_AGE),
                steps=limits.BEAT_AGE,
            ),
            chart(
                34,
                "Restarts",
                "Restarts per minute of workers that nobody told to stop: after a crash or a hard"
                " deadline.",
                [per_minute("restarts")],
                style=BARS,
                size=QUARTER,
            ),
            chart(
                35,
                "Reconnects",
                describe(series.WORKER.find("reconnects"), "The chart shows them per minute."),
                [per_minute("reconnects")],
                style=BARS,
                size=QUARTER,
            ),
            chart(
                36,
                "Touches",
                describe(
                    series.WORKER.find("touches"),
                    "The chart shows them per minute. Many touches mean that runs take longer than"
                    " a third of their TTR, the time that the server gives them.",
                ),
                [per_minute("touches")],
                style=BARS,
                size=QUARTER,
            ),
            chart(
                37,
                "Recycles",
                describe(
                    series.WORKER_SEEN.find("recycles"),
                    "The chart shows them per minute. Many of them mean a leak of memory, or a"
                    " limit that is too low.",
                ),
                [per_minute("recycles")],
                style=BARS,
                size=QUARTER,
            ),
        ],
    )
