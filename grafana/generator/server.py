"""The Server dashboard: do the queue servers answer, and do they lose jobs?"""

from functools import partial

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator import beanstalkd
from beanwatch.grafana.generator.lib import limits, page, queries, query, states
from beanwatch.grafana.generator.lib.measures import PER_SECOND, describe
from beanwatch.grafana.generator.lib.panels import (
    BARS,
    HALF,
    STACKED,
    STEPPED,
    chart,
    tile,
    timeline,
)
from beanwatch.grafana.generator.lib.patterns import ALL, QUEUE_SERVER, SERVER
from beanwatch.grafana.generator.lib.query import Query
from beanwatch.grafana.generator.lib.source import Source
from beanwatch.grafana.generator.lib.states import WARNING
from beanwatch.telemetry import series


def build(source: Source) -> Dashboard:
    """Build the dashboard `beanwatch-server`."""
    return page.page(
        source,
        page.SERVER_PAGE,
        "beanwatch / Server",
        "Queue servers: do they answer, how many jobs do they have, do they lose any?",
        [page.servers],
        [_now(), _jobs(), _size(), _trouble(), *beanstalkd.server_sections(ALL)],
        runbook="queue-server",
    )


def _each(measure: str) -> Query:
    return query.name_by(query.nonempty(ALL.server(measure)), SERVER)


def _rate(measure: str) -> Query:
    return query.nonempty(query.group_by(ALL.queue(measure), QUEUE_SERVER))


def _text(measure: str, more: str = "") -> str:
    return describe(series.SERVER.find(measure), more)


def _now() -> page.Section:
    return page.Section(
        "",
        [
            tile(
                1,
                "Servers down",
                "Servers that did not answer the collector.",
                query.count_between(ALL.server("up"), 0, 0),
                steps=limits.ANY_PAGES,
            ),
            tile(
                2,
                "Draining",
                "Servers that refuse new jobs because somebody told them to.",
                query.newest(query.total(ALL.server("draining"))),
                steps=limits.ANY_WARNS,
            ),
            tile(
                3,
                "Uptime",
                "The uptime of the server that was started last.",
                query.newest(query.minimum(ALL.server("uptime"))),
                unit="dtdurations",
                good=WARNING,
                steps=limits.UPTIME,
                decimals=0,
            ),
            tile(
                5,
                "Missing jobs",
                _text("missing_jobs"),
                query.newest(query.total(ALL.server("missing_jobs"))),
                steps=limits.ANY_WARNS,
            ),
            tile(
                9,
                "Put",
                describe(series.QUEUE.find("put_rate")),
                query.newest(query.total(ALL.queue("put_rate"))),
                unit=PER_SECOND,
                good=states.PUT,
                graph=True,
                decimals=1,
            ),
            tile(
                10,
                "Deleted",
                describe(series.QUEUE.find("delete_rate")),
                query.newest(query.total(ALL.queue("delete_rate"))),
                unit=PER_SECOND,
                good=states.DELETED,
                graph=True,
                decimals=1,
            ),
            tile(
                7,
                "Connections",
                _text(
                    "connections", "Producers, workers, checks and the collector open connections."
                ),
                query.newest(query.total(ALL.server("connections"))),
                good=states.PUT,
                graph=True,
            ),
            tile(
                8,
                "Queues",
                _text("queues", beanstalkd.QUEUES_TEXT),
                query.newest(query.total(ALL.server("queues"))),
                good=states.PUT,
                graph=True,
            ),
        ],
    )


def _jobs() -> page.Section:
    return page.Section(
        "Jobs",
        [
            chart(
                13,
                "Jobs by state",
                "All jobs of the chosen servers.",
                queries.jobs_by_state(partial(queries.jobs_on_servers, ALL)),
                colors=states.JOB_STATES,
                style=STACKED,
                runbook="queue-depth",
            ),
            chart(
                14,
                "Put",
                "Jobs put per second, by server.",
                [query.highest(_rate("put_rate"))],
                unit=PER_SECOND,
            ),
            chart(
                15,
                "Deleted",
                "Jobs finished per second, by server.",
                [query.highest(_rate("delete_rate"))],
                unit=PER_SECOND,
            ),
        ],
    )


def _size() -> page.Section:
    return page.Section(
        "Connections and queues",
        [
            chart(
                24,
                "Connections",
                "Connections to each server.",
                [query.highest(_each("connections"))],
                style=STEPPED,
                size=HALF,
            ),
            chart(
                23,
                "Queues",
                "Queues that exist on each server.",
                [query.highest(_each("queues"))],
                style=STEPPED,
                size=HALF,
            ),
        ],
    )


def _trouble() -> page.Section:
    restarts = query.nonempty(query.per_minute(ALL.server("restarts")))
    return page.Section(
        "Trouble",
        [
            timeline(
                41,
                "Answers",
                "Shows whether each server answered the collector. If there are more than ten,"
                " those that did not answer come first. In a gap, the collector did not run.",
                query.lowest(_each("up"), 10),
                states.ANSWERS,
                worst="min",
                size=HALF,
            ),
            timeline(
                43,
                "Draining",
                "Shows when each server was draining: somebody told it to refuse new jobs.",
                query.highest(_each("draining"), 10),
                states.DRAINING,
                size=HALF,
            ),
            chart(
                42,
                "Restarts",
                "Restarts per minute that the collector noticed.",
                [query.top_nonzero(query.name_by(restarts, SERVER))],
                style=BARS,
                size=HALF,
            ),
            chart(
                46,
                "Missing jobs",
                _text("missing_jobs", "The chart has a line for each server that lost jobs."),
                [query.top_nonzero(_each("missing_jobs"))],
                style=STEPPED,
                size=HALF,
            ),
        ],
    )
