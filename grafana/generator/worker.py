"""The Worker dashboard: is every worker alive, what does it do, how often does it fail."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator import functions as g
from beanwatch.grafana.generator import limits, measures, page, words
from beanwatch.grafana.generator.panels import PER_SECOND, chart, tile, timeline
from beanwatch.grafana.generator.series import (
    JOB_HOST,
    JOB_NAME,
    WORKER_HOST,
    WORKER_NAME,
    Series,
)
from beanwatch.grafana.generator.tables import Column, grid
from beanwatch.store.health import HEALTH_CODES
from beanwatch.telemetry import series as paths

SOME = Series(hosts="$host", workers="$worker")


def build() -> Dashboard:
    hosts = paths.worker("$prefix", "HOST.NAME", "state").partition(".HOST")[0]
    return page.page(
        page.WORKER,
        "beanwatch / Worker",
        "The workers: alive, at work, how their runs end, what they need.",
        [
            page.choice("host", "Host", "The hosts that workers run on.", f"{hosts}.*"),
            page.choice("worker", "Worker", "The workers' names.", f"{hosts}.$host.*"),
        ],
        [_now(), _state(), _work(), _process()],
        to="worker-heartbeat",
    )


def _named(series: str) -> str:
    return g.named(g.alive(series), WORKER_HOST, WORKER_NAME)


def _each(stat: str) -> str:
    return _named(SOME.worker(stat))


def _now() -> page.Section:
    state = SOME.worker("state")
    blocked, hung, dead = (HEALTH_CODES[health] for health in ("blocked", "hung", "dead"))

    return page.Section(
        "",
        [
            tile(
                1,
                "Live",
                "Workers whose heartbeat is fresh, whatever they do.",
                g.count_between(state, 0, dead - 1),
                good=words.LIVE,
                graph=True,
            ),
            tile(
                2,
                "Dead",
                "Workers whose heartbeat stopped without a goodbye.",
                g.count_between(state, dead, dead),
                steps=limits.ANY_PAGES,
            ),
            tile(
                3,
                "Hung",
                "Alive, but without progress or past the job's deadline.",
                g.count_between(state, hung, hung),
                steps=limits.ANY_WARNS,
            ),
            tile(
                4,
                "Blocked",
                "Takes no jobs: its disk is nearly full, or beanstalkd cannot be reached.",
                g.count_between(state, blocked, blocked),
                steps=limits.ANY_WARNS,
            ),
            tile(
                5,
                "Oldest heartbeat",
                "The age of the oldest heartbeat. Dead: more than 10 seconds (or 3 intervals).",
                g.fresh(g.worst(g.alive(SOME.worker("beat_age")))),
                unit="s",
                steps=limits.BEAT_AGE,
                decimals=0,
            ),
            tile(
                6,
                "Busy",
                "The share of time in which these workers ran a job. Near 100 %: add workers.",
                g.fresh(g.scaled(g.average(g.alive(SOME.worker("busy"))), 100)),
                unit="percent",
                good=words.LIVE,
                graph=True,
                decimals=0,
            ),
            tile(
                7,
                "Runs",
                "Runs that ended, a second, in any way.",
                g.fresh(g.total(SOME.outcomes())),
                unit=PER_SECOND,
                good=words.DELETED,
                graph=True,
                decimals=1,
            ),
            tile(
                8,
                "Failed runs",
                "The share of runs in the last 10 minutes that failed: retried, buried, timed out,"
                " poisonous or not understood.",
                measures.failed_share(SOME),
                unit="percent",
                steps=limits.steps(limits.FAILED),
                decimals=1,
                to="job-failures",
            ),
        ],
    )


def _state() -> page.Section:
    return page.Section(
        "State",
        [
            timeline(
                11,
                "State of each worker",
                "What the workers did, the fifteen in the worst state first. Dead: no heartbeat."
                " Hung: no progress. Blocked: it takes no jobs. Short states between two points"
                " are not seen.",
                g.top(_each("state"), 15),
                words.WORKERS,
                height=10,
            ),
            grid(
                12,
                "Workers now",
                "Every worker of the last 2 minutes.",
                "Worker",
                [
                    Column("State", _each("state"), words=words.WORKERS, width=110),
                    Column(
                        "Heartbeat age",
                        _each("beat_age"),
                        unit="s",
                        steps=limits.BEAT_AGE,
                        decimals=0,
                    ),
                    Column(
                        "Busy",
                        _named(g.scaled(SOME.worker("busy"), 100)),
                        unit="percent",
                        decimals=0,
                    ),
                    Column(
                        "Runs /s",
                        g.alive(g.by(SOME.outcomes(), JOB_HOST, JOB_NAME)),
                        decimals=2,
                    ),
                    Column("Memory", _each("rss"), unit="bytes"),
                    Column("Disk free", _each("disk_free"), unit="bytes"),
                    Column("Restarts", _each("restarts")),
                    Column("Reconnects", _each("reconnects")),
                    Column("Metrics lost", _each("dropped_metrics")),
                ],
                height=9,
            ),
        ],
    )


def _work() -> page.Section:
    return page.Section(
        "Work",
        [
            chart(
                21,
                "Runs by outcome",
                "How the runs ended, a second. Retry, buried, timeout, poison and"
                " invalid are failures.",
                measures.outcomes(SOME),
                unit=PER_SECOND,
                colors=words.OUTCOMES,
                stacked=True,
                to="job-failures",
            ),
            chart(
                22,
                "Duration by job",
                "How long a run takes: half of them, 95 % and 99 % take less. Of several workers"
                " the slowest counts.",
                measures.percentiles(SOME, "duration"),
                unit="ms",
                to="job-failures",
            ),
            chart(
                23,
                "Wait by job",
                "How long a job waited between put and its first run: half of them, 95 % and 99 %"
                " waited less.",
                measures.percentiles(SOME, "wait"),
                unit="ms",
                to="queue-age",
            ),
        ],
    )


def _process() -> page.Section:
    return page.Section(
        "Process",
        [
            chart(
                31,
                "Busy share",
                "The share of time in which each worker ran a job, the six busiest.",
                [g.top(_named(g.scaled(SOME.worker("busy"), 100)))],
                unit="percent",
                most=100,
            ),
            chart(
                32,
                "Memory",
                "Resident memory, the six largest. A line that only rises: a leak; --max-memory"
                " recycles the process.",
                [g.top(_each("rss"))],
                unit="bytes",
            ),
            chart(
                33,
                "Heartbeat age",
                "The six oldest heartbeats. A living worker stays near its interval of 1 second.",
                [g.top(_each("beat_age"))],
                unit="s",
                steps=limits.BEAT_AGE,
            ),
            chart(
                34,
                "Restarts",
                "New instances of a worker, by the minute: after a crash, a hard deadline, or a"
                " recycling.",
                [g.found(_named(g.each_minute(SOME.worker("restarts"))), SOME.worker("state"))],
                bars=True,
            ),
            chart(
                35,
                "Reconnects",
                "Connections to beanstalkd that had to be built again, by the minute.",
                [g.found(_named(g.each_minute(SOME.worker("reconnects"))), SOME.worker("state"))],
                bars=True,
            ),
            chart(
                36,
                "Touches",
                "How often a worker asked for more time for its job, a second: the sign of runs"
                " longer than a third of their TTR.",
                [g.found(_named(g.per_second(SOME.worker("touches"))), SOME.worker("state"))],
                unit=PER_SECOND,
            ),
        ],
    )
