"""Panels, columns and alert rules for the numbers that only beanstalkd has.

The series are native: they have beanstalkd's own names, `_` for `-` (protocol.txt, "stats").
"""

from collections.abc import Iterator

from beanwatch.grafana.generator.lib import graphite, page
from beanwatch.grafana.generator.lib.measures import PER_SECOND, PERCENT
from beanwatch.grafana.generator.lib.panels import BARS, HALF, STEPPED, Size, Style, chart
from beanwatch.grafana.generator.lib.patterns import SERVER, STAT, Patterns
from beanwatch.grafana.generator.lib.rule import Rule
from beanwatch.grafana.generator.lib.tables import Column

COMMANDS = (
    "put",
    "reserve",
    "reserve_with_timeout",
    "delete",
    "release",
    "bury",
    "kick",
    "touch",
    "use",
    "watch",
    "ignore",
    "peek",
    "peek_ready",
    "peek_buried",
    "stats",
    "stats_job",
    "stats_tube",
    "list_tubes",
)
COLUMNS_TEXT = "CPU and refused puts (since the server's start) are known of beanstalkd only."
QUEUES_TEXT = "beanstalkd gets slow with many thousands of them."
LARGE, QUARTER = Size(12, 9), Size(6, 8)


def server_columns(servers: Patterns) -> list[Column]:
    """Columns for the table of servers."""
    refused = graphite.name_by(servers.native_server("rejected_puts"), SERVER)
    return [
        Column("CPU", _cpu(servers), unit=PERCENT, decimals=1),
        Column("Refused puts", graphite.nonempty(refused)),
    ]


def server_sections(servers: Patterns) -> list[page.Section]:
    """Rows for the Server dashboard."""
    return [_load(servers), _losses(servers), _binlog(servers)]


def queue_section(one: Patterns) -> page.Section:
    """A row for the Queue dashboard."""

    def total(name: str) -> str:
        return graphite.total(one.native_queue(name))

    kicks = graphite.total(graphite.per_minute(_commands(one, "kick", "kick_job")))
    timeouts = graphite.total(graphite.per_minute(one.native_server("job_timeouts")))
    return page.Section(
        "beanstalkd",
        [
            chart(
                51,
                "Urgent jobs",
                "Ready jobs with a priority number below 1024. They are a part of the ready jobs.",
                [graphite.alias(total("current_jobs_urgent"), "urgent")],
                colors={"urgent": "blue"},
                size=QUARTER,
            ),
            chart(
                52,
                "Producers",
                "Connections that put into the queue.",
                [graphite.alias(total("current_using"), "producers")],
                colors={"producers": "purple"},
                style=STEPPED,
                size=QUARTER,
            ),
            chart(
                53,
                "Pause",
                "Time until workers may take jobs again, where somebody paused the queue.",
                [
                    graphite.alias(
                        graphite.maximum(one.native_queue("pause_time_left")), "paused for"
                    )
                ],
                unit="s",
                colors={"paused for": "blue"},
                size=QUARTER,
                runbook="queue-consumers",
            ),
            chart(
                23,
                "Kicks and timeouts of the server",
                "In each minute, over all queues of the server: beanstalkd does not count them by"
                " queue. Kicks: buried jobs that somebody made ready again. Timeouts: jobs that"
                " went back to ready because their worker did not finish them in time (TTR).",
                [graphite.alias(kicks, "kicks"), graphite.alias(timeouts, "timeouts")],
                colors={"kicks": "blue", "timeouts": "dark-orange"},
                style=BARS,
                size=QUARTER,
                runbook="queue-buried",
            ),
        ],
    )


def rules(every: Patterns, name: str, value: str) -> Iterator[Rule]:
    """The alert rules. `name` and `value` are templates of the server's name and of the number."""
    refused = graphite.moving(graphite.increase(every.native_server("rejected_puts")), "10min")
    yield Rule(
        uid="beanwatch-rejected-puts",
        title="Puts refused",
        severity="warning",
        query=graphite.nonempty(graphite.name_by(refused, SERVER)),
        summary=f"beanstalkd {name} refused {value} jobs in 10 minutes",
        description="They were too big, the server drains, or it has no memory or disk left. They"
        " are lost unless the producer puts them again.",
        runbook="queue-server",
        dashboard=page.SERVER_PAGE,
        panel=44,
        variables=f"var-server={name}",
    )


def _commands(servers: Patterns, *commands: str) -> str:
    return servers.native_server(*(f"cmd_{command}" for command in commands))


def _named(series: str) -> str:
    return graphite.name_by(graphite.nonempty(series), SERVER)


def _cpu(servers: Patterns) -> str:
    """Percent of a processor, by server."""
    times = servers.native_server("rusage_utime", "rusage_stime")
    used = graphite.scale(graphite.per_second(times), 100)
    return graphite.nonempty(graphite.group_by(used, SERVER))


def _load(servers: Patterns) -> page.Section:
    commands = graphite.group_by(graphite.per_second(_commands(servers, *COMMANDS)), STAT)
    busiest = graphite.highest(graphite.nonempty(commands), graphite.MANY)
    roles = {
        "producers": "current_producers",
        "workers": "current_workers",
        "waiting": "current_waiting",
    }
    opened = graphite.per_second(servers.native_server("total_connections"))
    return page.Section(
        "beanstalkd: load",
        [
            chart(
                11,
                "Commands",
                "The ten most frequent commands, a second, over the chosen servers.",
                [f"aliasSub({busiest}, '^cmd_', '')"],
                unit=PER_SECOND,
                style=Style(legend_right=True),
                size=LARGE,
            ),
            chart(
                12,
                "CPU",
                "beanstalkd has one thread: at 100 % all its clients wait.",
                [graphite.highest(_cpu(servers), graphite.MANY)],
                unit=PERCENT,
                style=Style(legend_right=True),
                size=LARGE,
            ),
            chart(
                21,
                "Connections by role",
                "Producers have put a job, workers have reserved one; waiting ones ask for a job"
                " right now. One connection may be all three.",
                [
                    graphite.alias(graphite.total(servers.native_server(name)), role)
                    for role, name in roles.items()
                ],
                colors={"producers": "purple", "workers": "green", "waiting": "blue"},
                style=STEPPED,
                size=HALF,
            ),
            chart(
                22,
                "New connections",
                "Connections opened, a second. Many: somebody opens one for every job.",
                [graphite.highest(_named(opened))],
                unit=PER_SECOND,
                size=HALF,
            ),
        ],
    )


def _losses(servers: Patterns) -> page.Section:
    def per_minute(series: str) -> str:
        return graphite.top_nonzero(_named(graphite.per_minute(series)))

    return page.Section(
        "beanstalkd: refused, timed out, kicked",
        [
            chart(
                44,
                "Refused puts",
                "Jobs that were refused, in each minute: too big, the server drains, or it has no"
                " memory or disk left. They are lost unless the producer puts them again.",
                [per_minute(servers.native_server("rejected_puts"))],
                style=BARS,
            ),
            chart(
                45,
                "Jobs past their TTR",
                "Jobs, in each minute, that went back to ready because their worker did not finish"
                " them in time. They run again.",
                [per_minute(servers.native_server("job_timeouts"))],
                style=BARS,
                runbook="job-failures",
            ),
            chart(
                47,
                "Kicks",
                "Commands, in each minute, that made buried jobs ready again.",
                [
                    graphite.top_nonzero(
                        graphite.group_by(
                            graphite.per_minute(_commands(servers, "kick", "kick_job")), SERVER
                        )
                    )
                ],
                style=BARS,
                runbook="queue-buried",
            ),
        ],
    )


def _binlog(servers: Patterns) -> page.Section:
    written, migrated = (
        graphite.per_second(servers.native_server(f"binlog_records_{kind}"))
        for kind in ("written", "migrated")
    )
    return page.Section(
        "beanstalkd: binlog",
        [
            chart(
                31,
                "Size",
                "Size of the binlog's files, by server; 0 without -b. It grows while an old job"
                " keeps its file in use.",
                [graphite.highest(_named(servers.native_server("binlog_bytes")))],
                unit="bytes",
            ),
            chart(
                32,
                "Records written",
                "Records written, a second, by server.",
                [graphite.highest(_named(written))],
                unit=PER_SECOND,
            ),
            chart(
                33,
                "Records migrated",
                "Records of jobs that were moved out of old files, a second. Many: jobs live long,"
                " and the disk is busy with them.",
                [graphite.highest(_named(migrated))],
                unit=PER_SECOND,
            ),
        ],
    )
