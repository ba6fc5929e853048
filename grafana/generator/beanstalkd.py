"""Panels, table columns and alert rules for the numbers that only beanstalkd reports.

The series have beanstalkd's own names, with `_` for `-` (beanstalkd's protocol.txt, "stats").
"""

from collections.abc import Iterator

from beanwatch.grafana.generator.lib import page, query
from beanwatch.grafana.generator.lib.measures import PER_SECOND, PERCENT
from beanwatch.grafana.generator.lib.panels import BARS, HALF, STEPPED, Size, Style, chart
from beanwatch.grafana.generator.lib.patterns import SERVER, STAT, Patterns
from beanwatch.grafana.generator.lib.query import Query
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
COLUMNS_TEXT = "Only beanstalkd reports CPU and refused puts (since the server's start)."
QUEUES_TEXT = "beanstalkd becomes slow with many thousands of queues."
LARGE, QUARTER = Size(12, 9), Size(6, 8)


def server_columns(servers: Patterns) -> list[Column]:
    """Return the columns to add to the table of servers."""
    refused = query.name_by(servers.native_server("rejected_puts"), SERVER)
    return [
        Column("CPU", _cpu(servers), unit=PERCENT, decimals=1),
        Column("Refused puts", query.nonempty(refused)),
    ]


def server_sections(servers: Patterns) -> list[page.Section]:
    """Return the rows to add to the Server dashboard."""
    return [_load(servers), _losses(servers), _binlog(servers)]


def queue_section(one: Patterns) -> page.Section:
    """Return the row to add to the Queue dashboard."""

    def total(name: str) -> Query:
        return query.total(one.native_queue(name))

    kicks = query.total(query.per_minute(_commands(one, "kick", "kick_job")))
    timeouts = query.total(query.per_minute(one.native_server("job_timeouts")))
    return page.Section(
        "beanstalkd",
        [
            chart(
                51,
                "Urgent jobs",
                "Ready jobs with a priority number below 1024. The ready jobs include them.",
                [query.alias(total("current_jobs_urgent"), "urgent")],
                colors={"urgent": "blue"},
                size=QUARTER,
            ),
            chart(
                52,
                "Producers",
                "Connections that put jobs into the queue.",
                [query.alias(total("current_using"), "producers")],
                colors={"producers": "purple"},
                style=STEPPED,
                size=QUARTER,
            ),
            chart(
                53,
                "Pause",
                "If somebody paused the queue: the time until workers may take jobs again.",
                [query.alias(query.maximum(one.native_queue("pause_time_left")), "paused for")],
                unit="s",
                colors={"paused for": "blue"},
                size=QUARTER,
                runbook="queue-consumers",
            ),
            chart(
                23,
                "Kicks and timeouts of the server",
                "Kicks and timeouts per minute, over all queues of the server, because beanstalkd"
                " does not count them by queue. Kicks: buried jobs that somebody made ready again."
                " Timeouts: jobs that went back to ready because their worker did not finish them"
                " in time (TTR).",
                [query.alias(kicks, "kicks"), query.alias(timeouts, "timeouts")],
                colors={"kicks": "blue", "timeouts": "dark-orange"},
                style=BARS,
                size=QUARTER,
                runbook="queue-buried",
            ),
        ],
    )


def rules(every: Patterns) -> Iterator[Rule]:
    """Yield the alert rules."""
    refused = query.risen(every.native_server("rejected_puts"), 10)
    yield Rule(
        uid="beanwatch-rejected-puts",
        title="Puts refused",
        severity="warning",
        query=query.nonempty(query.name_by(refused, SERVER)),
        names=("server",),
        summary="beanstalkd {server} refused jobs in the last 10 minutes: {value}",
        description="The jobs were too big, the server is draining, or it has no memory or disk"
        " left. The jobs are lost unless their producers put them again.",
        runbook="queue-server",
        dashboard=page.SERVER_PAGE,
        panel=44,
        variables="var-server={server}",
    )


def _commands(servers: Patterns, *commands: str) -> Query:
    return servers.native_server(*(f"cmd_{command}" for command in commands))


def _named(series: Query) -> Query:
    return query.name_by(query.nonempty(series), SERVER)


def _cpu(servers: Patterns) -> Query:
    """Return the query for the CPU use of each server, in percent of one processor."""
    times = servers.native_server("rusage_utime", "rusage_stime")
    used = query.scale(query.per_second(times), 100)
    return query.nonempty(query.group_by(used, SERVER))


def _load(servers: Patterns) -> page.Section:
    commands = query.group_by(query.per_second(_commands(servers, *COMMANDS)), STAT)
    busiest = query.highest(query.nonempty(commands), query.MANY)
    roles = {
        "producers": "current_producers",
        "workers": "current_workers",
        "waiting": "current_waiting",
    }
    opened = query.per_second(servers.native_server("total_connections"))
    return page.Section(
        "beanstalkd: load",
        [
            chart(
                11,
                "Commands",
                "The ten most frequent commands, per second, summed over the chosen servers.",
                [busiest._replace(graphite=f"aliasSub({busiest.graphite}, '^cmd_', '')")],
                unit=PER_SECOND,
                style=Style(legend_right=True),
                size=LARGE,
            ),
            chart(
                12,
                "CPU",
                "beanstalkd has one thread. At 100 %, all its clients must wait.",
                [query.highest(_cpu(servers), query.MANY)],
                unit=PERCENT,
                style=Style(legend_right=True),
                size=LARGE,
            ),
            chart(
                21,
                "Connections by role",
                "Producers have put a job. Workers have reserved a job. Waiting connections wait"
                " for a job now. One connection may be all three.",
                [
                    query.alias(query.total(servers.native_server(name)), role)
                    for role, name in roles.items()
                ],
                colors={"producers": "purple", "workers": "green", "waiting": "blue"},
                style=STEPPED,
                size=HALF,
            ),
            chart(
                22,
                "New connections",
                "Connections opened per second. Many mean that a client opens one for every job.",
                [query.highest(_named(opened))],
                unit=PER_SECOND,
                size=HALF,
            ),
        ],
    )


def _losses(servers: Patterns) -> page.Section:
    def per_minute(series: Query) -> Query:
        return query.top_nonzero(_named(query.per_minute(series)))

    return page.Section(
        "beanstalkd: refused, timed out, kicked",
        [
            chart(
                44,
                "Refused puts",
                "Jobs per minute that the server refused: the job was too big, the server is"
                " draining, or it has no memory or disk left. The jobs are lost unless their"
                " producers put them again.",
                [per_minute(servers.native_server("rejected_puts"))],
                style=BARS,
            ),
            chart(
                45,
                "Jobs past their TTR",
                "Jobs per minute that went back to ready because their worker did not finish them"
                " in time. They run again.",
                [per_minute(servers.native_server("job_timeouts"))],
                style=BARS,
                runbook="job-failures",
            ),
            chart(
                47,
                "Kicks",
                "Commands per minute that made buried jobs ready again.",
                [
                    query.top_nonzero(
                        query.group_by(
                            query.per_minute(_commands(servers, "kick", "kick_job")), SERVER
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
        query.per_second(servers.native_server(f"binlog_records_{kind}"))
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
                [query.highest(_named(servers.native_server("binlog_bytes")))],
                unit="bytes",
            ),
            chart(
                32,
                "Records written",
                "Records written per second, by server.",
                [query.highest(_named(written))],
                unit=PER_SECOND,
            ),
            chart(
                33,
                "Records migrated",
                "Records per second that were moved out of old files. Many mean that jobs live long"
                " and keep the disk busy.",
                [query.highest(_named(migrated))],
                unit=PER_SECOND,
            ),
        ],
    )
