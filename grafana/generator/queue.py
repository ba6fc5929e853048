"""The Queue dashboard: one queue, what comes in, what goes out, and who works on it."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator import functions as g
from beanwatch.grafana.generator import limits, measures, page, words
from beanwatch.grafana.generator.panels import PER_SECOND, chart, tile, timeline
from beanwatch.grafana.generator.series import QUEUE_SERVER, Series
from beanwatch.grafana.generator.tables import Column, grid
from beanwatch.telemetry import series as paths

# A job's series do not say from which server it came: they are the queue's on all of them.
ONE = Series(queues="$queue")


def build() -> Dashboard:
    return page.page(
        page.QUEUE,
        "beanwatch / Queue",
        "One queue: its jobs, its consumers, and how the runs of its jobs end.",
        [
            page.servers(),
            page.choice(
                "queue",
                "Queue",
                "The queue. Dots and other special characters of its name are written as _.",
                paths.queue("$prefix", "$server", "*", "ready").rpartition(".")[0],
                several=False,
            ),
        ],
        [_now(), _jobs(), _consumers(), _runs(), _trouble(), _servers()],
        to="queue-depth",
    )


def _sum(stat: str) -> str:
    return g.total(ONE.queue(stat))


def _worst(stat: str) -> str:
    return g.worst(ONE.queue(stat))


def _now() -> page.Section:
    return page.Section(
        "",
        [
            tile(
                1,
                "Consumers",
                "Who works on the queue. No worker: jobs are ready and nobody watches. Stalled: it"
                " is watched, but no job is taken. Saturated: all are busy, perhaps elsewhere, and"
                " it does not shrink.",
                g.fresh(_worst("consumer_state")),
                words=words.CONSUMERS,
                to="queue-consumers",
            ),
            tile(
                2,
                "Ready",
                "Jobs that could be worked on now.",
                g.fresh(_sum("current-jobs-ready")),
                good=words.READY,
                graph=True,
            ),
            tile(
                3,
                "Head of the queue",
                "How long the job that is next has been waiting.",
                g.fresh(_worst("head_ready_age")),
                unit="s",
                steps=limits.steps(limits.HEAD_AGE),
                decimals=0,
                to="queue-age",
            ),
            tile(
                4,
                "Drained in",
                "How long the ready jobs will last at the present rates. Never: the queue does not"
                " get shorter.",
                g.fresh(g.or_never(_worst("drain_seconds"), _sum("current-jobs-ready"))),
                unit="s",
                words=words.DRAINED,
                decimals=0,
            ),
            tile(
                5,
                "Buried",
                "Jobs that were set aside after failing. Look at them, then kick or delete them.",
                g.fresh(_sum("current-jobs-buried")),
                steps=limits.ANY_WARNS,
                to="queue-buried",
            ),
            tile(
                6,
                "Put",
                "Jobs that producers put, a second.",
                g.fresh(_sum("put_rate")),
                unit=PER_SECOND,
                good=words.PUT,
                graph=True,
                decimals=1,
            ),
            tile(
                7,
                "Deleted",
                "Jobs that were finished and deleted, a second.",
                g.fresh(_sum("delete_rate")),
                unit=PER_SECOND,
                good=words.DELETED,
                graph=True,
                decimals=1,
            ),
            tile(
                8,
                "Watching",
                "Connections that watch the queue: its workers.",
                g.fresh(_sum("current-watching")),
                to="queue-consumers",
            ),
        ],
    )


def _jobs() -> page.Section:
    put, deleted = _sum("put_rate"), _sum("delete_rate")
    return page.Section(
        "Jobs",
        [
            chart(
                11,
                "Jobs by state",
                "Ready: could be worked on. Reserved: a worker holds them. Delayed: due later."
                " Buried: set aside after failing.",
                measures.jobs_by_state(ONE.queue),
                colors=words.JOB_STATES,
                stacked=True,
                width=12,
            ),
            chart(
                12,
                "In and out",
                "Jobs put and jobs deleted, a second. Put above deleted: the backlog grows.",
                [g.alias(put, "put"), g.alias(deleted, "deleted")],
                unit=PER_SECOND,
                colors={"put": words.PUT, "deleted": words.DELETED},
                width=12,
            ),
            chart(
                13,
                "Net growth",
                "Jobs put less jobs deleted, a second, averaged over a minute. Above zero the queue"
                " fills up, below zero it empties.",
                [g.alias(g.over(g.less(put, deleted), "1min", "Average"), "growth")],
                unit=PER_SECOND,
                colors={"growth": words.PUT},
                least=None,
            ),
            chart(
                14,
                "Head of the queue",
                "How long the job that is next had been waiting.",
                [g.alias(_worst("head_ready_age"), "waiting")],
                unit="s",
                steps=limits.steps(limits.HEAD_AGE),
                colors={"waiting": words.READY},
                to="queue-age",
            ),
            chart(
                15,
                "Drain estimate",
                "How long the ready jobs will last at the rates of that time. A gap: the queue did"
                " not get shorter.",
                [g.alias(_worst("drain_seconds"), "drained in")],
                unit="s",
                bridged=False,
                colors={"drained in": words.READY},
            ),
        ],
    )


def _consumers() -> page.Section:
    return page.Section(
        "Consumers",
        [
            timeline(
                21,
                "State of the consumers",
                "Whether somebody drains the queue, by server, the worst ten first. Only saturated,"
                " stalled and no worker are a matter for anybody.",
                g.top(g.alive(g.named(ONE.queue("consumer_state"), QUEUE_SERVER)), 10),
                words.CONSUMERS,
                width=12,
                to="queue-consumers",
            ),
            chart(
                22,
                "Connections",
                "Watching: workers of the queue. Waiting: those that ask for a job right now."
                " Using: producers that put into it.",
                [
                    g.alias(_sum("current-watching"), "watching"),
                    g.alias(_sum("current-waiting"), "waiting"),
                    g.alias(_sum("current-using"), "using"),
                ],
                colors={"watching": "green", "waiting": "blue", "using": "purple"},
                step_after=True,
                width=12,
                to="queue-consumers",
            ),
        ],
    )


def _trouble() -> page.Section:
    server = Series()
    return page.Section(
        "Trouble",
        [
            chart(
                24,
                "Buried jobs",
                "Jobs that were set aside after failing.",
                [g.alias(_sum("current-jobs-buried"), "buried")],
                colors={"buried": words.BURIED},
                to="queue-buried",
            ),
            chart(
                25,
                "First buried job",
                "How long the job that would be kicked first has been seen buried.",
                [g.alias(_worst("head_buried_age"), "buried for")],
                unit="s",
                colors={"buried for": words.BURIED},
                to="queue-buried",
            ),
            chart(
                23,
                "Kicks and timeouts of the server",
                "By the minute, over all queues, as beanstalkd does not count them by queue. Kicks:"
                " buried jobs that somebody made ready again. Timeouts: jobs whose worker did not"
                " come back in their TTR.",
                [
                    g.alias(g.total(g.each_minute(server.commands("kick", "kick-job"))), "kicks"),
                    g.alias(g.total(g.each_minute(server.server("job-timeouts"))), "timeouts"),
                ],
                colors={"kicks": "blue", "timeouts": "dark-orange"},
                bars=True,
                to="queue-buried",
            ),
        ],
    )


def _runs() -> page.Section:
    return page.Section(
        "Runs of its jobs",
        [
            chart(
                31,
                "Runs by outcome",
                "How the runs ended, a second. Retry and buried: the handler failed. Timeout: it"
                " took too long. Lost: the job had gone back before it was finished. Poison: it"
                " killed its workers.",
                measures.outcomes(ONE),
                unit=PER_SECOND,
                colors=words.OUTCOMES,
                stacked=True,
                to="job-failures",
            ),
            chart(
                32,
                "Duration by job",
                "How long a run takes: half of them, 95 % and 99 % take less. Of several workers"
                " the slowest counts.",
                measures.percentiles(ONE, "duration"),
                unit="ms",
                to="job-failures",
            ),
            chart(
                33,
                "Wait by job",
                "How long a job waited between put and its first run: half of them, 95 % and 99 %"
                " waited less.",
                measures.percentiles(ONE, "wait"),
                unit="ms",
                to="queue-age",
            ),
        ],
    )


def _servers() -> page.Section:
    def each(stat: str) -> str:
        return g.alive(g.named(ONE.queue(stat), QUEUE_SERVER))

    return page.Section(
        "By server",
        [
            grid(
                41,
                "The queue on each server now",
                "The same queue, server by server. Drift: jobs of it that are in no state.",
                "Server",
                [
                    Column("Consumers", each("consumer_state"), words=words.CONSUMERS, width=100),
                    Column("Ready", each("current-jobs-ready")),
                    Column("Reserved", each("current-jobs-reserved")),
                    Column("Delayed", each("current-jobs-delayed")),
                    Column("Buried", each("current-jobs-buried"), steps=limits.ANY_WARNS),
                    Column("Put /s", each("put_rate"), decimals=1),
                    Column("Deleted /s", each("delete_rate"), decimals=1),
                    Column("Watching", each("current-watching")),
                    Column("Waiting", each("current-waiting")),
                    Column("Pause left", each("pause-time-left"), unit="s"),
                    Column("Jobs ever put", each("total-jobs")),
                    Column("Drift", each("drift")),
                ],
                link=f"/d/{page.SERVER_PAGE}?{page.KEPT}&var-server=${{__value.text}}",
                height=6,
                to="queue-consumers",
            )
        ],
    )
