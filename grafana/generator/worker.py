"""The Worker dashboard: is every worker alive, what does it do, how often do its runs fail?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator.lib import graphite, limits, page, queries, states
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
    Patterns,
)
from beanwatch.grafana.generator.lib.tables import Column, grid
from beanwatch.store.health import HEALTH_CODES
from beanwatch.telemetry import series

SOME = Patterns(servers="*", hosts="$host", workers="$worker")
BUSY, MEMORY = series.WORKER.find("busy"), series.WORKER.find("rss")
BEAT_AGE, DISK = series.WORKER_SEEN.find("beat_age"), series.WORKER_SEEN.find("disk_free")
OWN_RUNS = (
    "Those of a single worker are known only if it sends series of its own"
    " (--metrics-per-worker, or graphite://)."
)


def build() -> Dashboard:
    """The dashboard `beanwatch-worker`."""
    hosts = series.worker("$prefix", "HOST.NAME", "state").partition(".HOST")[0]
    return page.page(
        page.WORKER,
        "beanwatch / Worker",
        "The workers: are they alive, what do they do, how do their runs end?",
        [
            page.choice("host", "Host", "The hosts that workers run on.", f"{hosts}.*"),
            page.choice("worker", "Worker", "The names of the workers.", f"{hosts}.$host.*"),
        ],
        [_now(), _state(), _runs(), _process()],
        runbook="worker-heartbeat",
    )


def _named(pattern: str) -> str:
    return graphite.name_by(graphite.nonempty(pattern), WORKER_HOST, WORKER_NAME)


def _each(measure: str) -> str:
    return _named(SOME.worker(measure))


def _now() -> page.Section:
    state = SOME.worker("state")
    blocked, hung, dead = (HEALTH_CODES[health] for health in ("blocked", "hung", "dead"))

    return page.Section(
        "",
        [
            tile(
                1,
                "Live",
                describe(series.WORKERS.find("live"), "They may be in any state."),
                graphite.count_between(state, 0, dead - 1),
                good=states.LIVE,
                graph=True,
            ),
            tile(
                2,
                "Dead",
                describe(series.WORKERS.find("dead")),
                graphite.count_between(state, dead, dead),
                steps=limits.ANY_PAGES,
            ),
            tile(
                3,
                "Hung",
                describe(series.WORKERS.find("hung"), "Also those whose job is past its deadline."),
                graphite.count_between(state, hung, hung),
                steps=limits.ANY_WARNS,
            ),
            tile(
                4,
                "Blocked",
                describe(series.WORKERS.find("blocked"), "They take no jobs."),
                graphite.count_between(state, blocked, blocked),
                steps=limits.ANY_WARNS,
            ),
            tile(
                5,
                "Oldest heartbeat",
                "Age of the oldest heartbeat. Dead: more than 10 seconds (or 3 intervals).",
                graphite.newest(graphite.maximum(graphite.nonempty(SOME.worker("beat_age")))),
                unit=unit_of(BEAT_AGE),
                steps=limits.BEAT_AGE,
                decimals=0,
            ),
            tile(
                6,
                "Busy",
                describe(BUSY, "This is the mean of the workers. Near 100 %: add workers."),
                graphite.newest(graphite.average(graphite.nonempty(SOME.worker("busy")))),
                unit=unit_of(BUSY),
                good=states.LIVE,
                graph=True,
                decimals=0,
            ),
            tile(
                7,
                "Runs",
                f"Runs that ended, a second, in any way. {OWN_RUNS}",
                graphite.newest(graphite.total(SOME.outcomes())),
                unit=PER_SECOND,
                good=states.DELETED,
                graph=True,
                decimals=1,
            ),
            tile(
                8,
                "Failed runs",
                "The share of runs in the last 10 minutes that failed: retried, buried, timed out,"
                f" poison or invalid. {OWN_RUNS}",
                queries.failed_share(SOME),
                unit=PERCENT,
                steps=limits.steps(limits.FAILED),
                decimals=1,
                runbook="job-failures",
            ),
        ],
    )


def _state() -> page.Section:
    # The node of a job's worker is <host>_<name>; a host's name has no `_`. Other series of
    # workers have two nodes, so the first `_` becomes a dot.
    runs = graphite.nonempty(graphite.group_by(SOME.outcomes(), JOB_WORKER))
    runs = rf"aliasSub(exclude({runs}, '^{series.ALL_WORKERS}$'), '^([^_]*)_', '\1.')"
    return page.Section(
        "State",
        [
            timeline(
                11,
                "State of each worker",
                "The fifteen workers in the worst state. Dead: no heartbeat. Hung: no progress."
                " Blocked: it takes no jobs. States shorter than the interval may not be seen.",
                graphite.highest(_each("state"), 15),
                states.WORKERS,
                size=Size(24, 10),
            ),
            grid(
                12,
                "Workers now",
                f"Every worker of the last 2 minutes. Runs: {OWN_RUNS[0].lower()}{OWN_RUNS[1:]}",
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
                    Column("Runs", runs, unit=PER_SECOND, decimals=2),
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
                "How the runs ended, a second. Retry, buried, timeout, poison and invalid are"
                f" failures. {OWN_RUNS}",
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
                    "Half of the runs, 95 % and 99 % take less. Of several workers the slowest"
                    f" counts. {OWN_RUNS}",
                ),
                queries.percentiles(SOME, "duration"),
                unit=MILLISECONDS,
                runbook="job-failures",
            ),
            chart(
                23,
                "Wait by job",
                describe(
                    series.TIMERS[1], f"Half of the runs, 95 % and 99 % waited less. {OWN_RUNS}"
                ),
                queries.percentiles(SOME, "wait"),
                unit=MILLISECONDS,
                runbook="queue-age",
            ),
        ],
    )


def _process() -> page.Section:
    def per_minute(measure: str) -> str:
        return graphite.top_nonzero(_named(graphite.per_minute(SOME.worker(measure))))

    return page.Section(
        "Process",
        [
            chart(
                31,
                "Busy",
                describe(BUSY, "The six busiest workers are shown."),
                [graphite.highest(_each("busy"))],
                unit=unit_of(BUSY),
                axis=Axis(most=1),
            ),
            chart(
                32,
                "Memory",
                describe(
                    MEMORY,
                    "The six largest are shown. A line that only rises is a leak; --max-memory"
                    " replaces the process.",
                ),
                [graphite.highest(_each("rss"))],
                unit=unit_of(MEMORY),
            ),
            chart(
                33,
                "Heartbeat age",
                "The six oldest heartbeats. That of a live worker stays near its interval of 1"
                " second.",
                [graphite.highest(_each("beat_age"))],
                unit=unit_of(BEAT_AGE),
                steps=limits.BEAT_AGE,
            ),
            chart(
                34,
                "Restarts",
                "Starts of a worker that nobody told to stop, in each minute: after a crash, a"
                " hard deadline, or a limit such as --max-jobs.",
                [per_minute("restarts")],
                style=BARS,
            ),
            chart(
                35,
                "Reconnects",
                describe(series.WORKER.find("reconnects"), "Counted in each minute."),
                [per_minute("reconnects")],
                style=BARS,
            ),
            chart(
                36,
                "Touches",
                describe(
                    series.WORKER.find("touches"),
                    "Counted in each minute. Many: runs take longer than a third of the time that"
                    " the server gives them.",
                ),
                [per_minute("touches")],
                style=BARS,
            ),
        ],
    )
