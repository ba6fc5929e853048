"""The Server dashboard: one beanstalkd or several, what they are asked and what it costs them."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator import functions as g
from beanwatch.grafana.generator import limits, measures, page, words
from beanwatch.grafana.generator.panels import PER_SECOND, WARNING, chart, tile, timeline
from beanwatch.grafana.generator.series import SERVER, STAT, Series

ALL = Series()
COMMANDS = (
    "put",
    "reserve",
    "reserve-with-timeout",
    "delete",
    "release",
    "bury",
    "kick",
    "touch",
    "use",
    "watch",
    "ignore",
    "peek",
    "peek-ready",
    "peek-buried",
    "stats",
    "stats-job",
    "stats-tube",
    "list-tubes",
)


def build() -> Dashboard:
    return page.page(
        page.SERVER_PAGE,
        "beanwatch / Server",
        "beanstalkd itself: commands, connections, CPU, binlog, and whether it keeps its jobs.",
        [page.servers()],
        [_now(), _work(), _connections(), _binlog(), _trouble()],
        to="queue-server",
    )


def _named(series: str) -> str:
    return g.named(g.alive(series), SERVER)


def _each(stat: str) -> str:
    return _named(ALL.server(stat))


def _now() -> page.Section:
    return page.Section(
        "",
        [
            tile(
                1,
                "Servers down",
                "Servers that did not answer the collector.",
                g.count_between(ALL.server("up"), 0, 0),
                steps=limits.ANY_PAGES,
            ),
            tile(
                2,
                "Draining",
                "Servers that refuse new jobs because somebody sent them SIGUSR1.",
                g.fresh(g.total(ALL.server("draining"))),
                steps=limits.ANY_WARNS,
            ),
            tile(
                3,
                "Up for",
                "The time since the last start, of the server that started last.",
                g.fresh(g.least(ALL.server("uptime"))),
                unit="dtdurations",
                good=WARNING,
                steps=limits.UPTIME,
                decimals=0,
            ),
            tile(
                4,
                "Rejected puts",
                "Jobs that were refused in the last 10 minutes: too big, or the server drains. They"
                " are lost unless the producer puts them again.",
                g.fresh(g.over(g.total(g.gained(ALL.server("rejected_puts"))), "10min")),
                steps=limits.ANY_WARNS,
                decimals=0,
            ),
            tile(
                5,
                "Drift",
                "Jobs that are in no state any more. Only a restart with the binlog finds them.",
                g.fresh(g.total(f"absolute({ALL.server('drift')})")),
                steps=limits.ANY_WARNS,
            ),
            tile(
                6,
                "Commands",
                "Commands of all kinds, a second.",
                g.fresh(g.total(g.per_second(ALL.commands(*COMMANDS)))),
                unit=PER_SECOND,
                good=words.PUT,
                graph=True,
                decimals=0,
            ),
            tile(
                7,
                "Connections",
                "Open connections: producers, workers, the collector.",
                g.fresh(g.total(ALL.server("current-connections"))),
                good=words.PUT,
                graph=True,
            ),
            tile(
                8,
                "Queues",
                "Queues that exist. beanstalkd gets slow with many thousands of them.",
                g.fresh(g.total(ALL.server("current-tubes"))),
                good=words.PUT,
                graph=True,
            ),
        ],
    )


def _work() -> page.Section:
    commands = g.by(g.per_second(ALL.commands(*COMMANDS)), STAT)
    return page.Section(
        "Work",
        [
            chart(
                11,
                "Commands",
                "The ten commonest commands, a second, over the chosen servers.",
                [f"aliasSub({g.top(g.alive(commands), g.TOP)}, '^cmd_', '')"],
                unit=PER_SECOND,
                width=12,
                height=9,
                side=True,
            ),
            chart(
                12,
                "CPU",
                "beanstalkd has one thread: at 100 % it is full, and everybody waits.",
                [g.top(measures.cpu(ALL), g.TOP)],
                unit="percent",
                width=12,
                height=9,
                side=True,
            ),
            chart(
                13,
                "Jobs by state",
                "All jobs of the chosen servers.",
                measures.jobs_by_state(ALL.server),
                colors=words.JOB_STATES,
                stacked=True,
                to="queue-depth",
            ),
            chart(
                14,
                "Put",
                "Jobs put, a second, by server.",
                [g.top(_named(g.per_second(ALL.server("total-jobs"))))],
                unit=PER_SECOND,
            ),
            chart(
                15,
                "Deleted",
                "Jobs deleted, a second, by server.",
                [g.top(_named(g.per_second(ALL.server("cmd-delete"))))],
                unit=PER_SECOND,
            ),
        ],
    )


def _connections() -> page.Section:
    return page.Section(
        "Connections",
        [
            chart(
                21,
                "Connections by role",
                "Producers have put a job, workers have reserved one; waiting ones ask for a job"
                " right now. Producers and workers may be the same connection.",
                [
                    g.alias(g.total(ALL.server("current-connections")), "all"),
                    g.alias(g.total(ALL.server("current-producers")), "producers"),
                    g.alias(g.total(ALL.server("current-workers")), "workers"),
                    g.alias(g.total(ALL.server("current-waiting")), "waiting"),
                ],
                colors={
                    "all": "text",
                    "producers": "purple",
                    "workers": "green",
                    "waiting": "blue",
                },
                step_after=True,
            ),
            chart(
                22,
                "New connections",
                "Connections opened, a second. Many: somebody connects anew for every job.",
                [g.top(_named(g.per_second(ALL.server("total-connections"))))],
                unit=PER_SECOND,
            ),
            chart(
                23,
                "Queues",
                "Queues that exist, by server.",
                [g.top(_each("current-tubes"))],
                step_after=True,
            ),
        ],
    )


def _binlog() -> page.Section:
    written = g.per_second(ALL.server("binlog-records-written"))
    migrated = g.per_second(ALL.server("binlog-records-migrated"))
    return page.Section(
        "Binlog",
        [
            chart(
                31,
                "Size",
                "Bytes of binlog files, by server; 0 without -b. It grows while an old job keeps"
                " its file alive.",
                [g.top(_each("binlog_bytes"))],
                unit="bytes",
            ),
            chart(
                32,
                "Records written",
                "Records written, a second, by server.",
                [g.top(_named(written))],
                unit=PER_SECOND,
            ),
            chart(
                33,
                "Records migrated",
                "Records of living jobs that were moved out of old files, a second. Many: jobs live"
                " long, and the disk is busy with them.",
                [g.top(_named(migrated))],
                unit=PER_SECOND,
            ),
        ],
    )


def _trouble() -> page.Section:
    return page.Section(
        "Trouble",
        [
            timeline(
                41,
                "Answering",
                "Whether each server answered the collector, the worst ten. Gaps: nobody asked.",
                g.lowest(_each("up"), 10),
                words.ANSWERS,
                worst="min",
                width=8,
            ),
            chart(
                42,
                "Restarts",
                "Times a server was seen to have started anew, by the minute.",
                [g.found(_named(g.each_minute(ALL.server("restarts"))), ALL.server("up"))],
                bars=True,
            ),
            timeline(
                43,
                "Draining",
                "When a server refused new jobs (SIGUSR1).",
                g.top(_each("draining"), 10),
                words.DRAINING,
                width=8,
            ),
            chart(
                44,
                "Rejected puts",
                "Jobs refused, by the minute: too big, or the server drains.",
                [g.found(_named(g.each_minute(ALL.server("rejected_puts"))), ALL.server("up"))],
                bars=True,
            ),
            chart(
                45,
                "Jobs past their TTR",
                "Jobs, by the minute, that went back to ready because their worker did not come"
                " back in time: they are run again.",
                [g.found(_named(g.each_minute(ALL.server("job-timeouts"))), ALL.server("up"))],
                bars=True,
                to="job-failures",
            ),
            chart(
                46,
                "Drift",
                "Jobs put, less those deleted, less those present, against the first such number."
                " It stays at zero; above it, jobs are in no state any more.",
                [g.top(_each("drift"))],
                step_after=True,
            ),
        ],
    )
