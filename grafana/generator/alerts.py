"""The alert rules: what the checks page for, as Grafana sees it in Graphite.

A rule cannot use dashboard variables: the prefix and the data source are written out. Every
series is an alert of its own, told apart by its alias, which so must be unique.
"""

from collections.abc import Iterator
from functools import partial

from beanwatch.grafana.generator import functions as g
from beanwatch.grafana.generator import limits, page, words
from beanwatch.grafana.generator.rule import MINUTE, Rule
from beanwatch.grafana.generator.series import (
    JOB,
    JOB_QUEUE,
    QUEUE,
    QUEUE_SERVER,
    SERVER,
    WORKER_HOST,
    WORKER_NAME,
    Series,
)
from beanwatch.queues import consumers
from beanwatch.store.health import HEALTH_CODES
from beanwatch.telemetry import series as paths

HOUR = 60 * MINUTE
# A server that is not sent any more stays an alert for as long; points are 10 s apart for 2 days.
REMEMBERED = 6 * HOUR
# The operator's own number: how many ready jobs are too many depends on the queue.
BACKLOG = 1000.0

ALL = Series(paths.PREFIX, paths.PREFIX, servers="*")
CONSUMER, HEALTH = consumers.CODES, HEALTH_CODES

# The alias of a queue's series is <server>.<queue>; `$$` is Grafana's way to write `$` here.
NAME = "{{ $$labels.name }}"
ANY = '{{ or $$labels.name "any server" }}'
FIRST = '{{ reReplaceAll "[.].*" "" $$labels.name }}'
SECOND = '{{ reReplaceAll "^[^.]*[.]" "" $$labels.name }}'
VALUE = "{{ $$values.B.Value }}"
DURATION = "{{ humanizeDuration $$values.B.Value }}"
PERCENT = '{{ printf "%.0f" $$values.B.Value }} %'


def rules() -> Iterator[Rule]:
    """Every rule, in the order of the runbook."""
    yield from _servers()
    yield from _queues()
    yield from _workers()
    yield from _jobs()


def _servers() -> Iterator[Rule]:
    about = f"var-server={NAME}"
    rule = partial(Rule, heading="queue-server", dashboard=page.SERVER_PAGE, about=about)

    def named(series: str) -> str:
        return g.alive(g.named(series, SERVER))

    yield rule(
        uid="beanwatch-server-down",
        title="Server down",
        severity="critical",
        query=named(ALL.server("up")),
        compare="lt",
        limits=(1,),
        hold="1m",
        summary=f"beanstalkd {NAME} does not answer",
        description="The collector cannot read the server. Nothing is put or drained there.",
        panel=41,
    )
    silent = g.named(g.silent(ALL.collector("success")), SERVER)
    for severity, hold in (("warning", "0s"), ("critical", "3m")):
        minutes = limits.SILENT[severity == "critical"] / MINUTE
        yield Rule(
            uid=f"beanwatch-collector-silent-{severity}",
            title=f"Collector silent ({severity})",
            severity=severity,
            query=silent,
            hold=hold,
            summary=f"Nothing has been heard of {ANY} for {minutes:g} minutes",
            description="The collector, Graphite or the way between them is broken: no other rule"
            " can fire.",
            heading="metrics-fresh",
            dashboard=page.FLEET,
            panel=61,
            window=REMEMBERED,
            no_data="Alerting",
        )
    yield rule(
        uid="beanwatch-server-restarted",
        title="Server restarted",
        severity="warning",
        query=named(g.over(g.gained(ALL.server("restarts")), "10min")),
        summary=f"beanstalkd {NAME} was restarted {VALUE} times in 10 minutes",
        description="Without a binlog (-b) every job that it held is gone.",
        panel=42,
    )
    yield rule(
        uid="beanwatch-server-draining",
        title="Server draining",
        severity="warning",
        query=named(ALL.server("draining")),
        summary=f"beanstalkd {NAME} is draining and refuses new jobs",
        description="Somebody sent it SIGUSR1. Only a restart ends it.",
        panel=43,
    )
    yield rule(
        uid="beanwatch-rejected-puts",
        title="Puts rejected",
        severity="warning",
        query=named(g.over(g.gained(ALL.server("rejected_puts")), "10min")),
        summary=f"beanstalkd {NAME} refused {VALUE} jobs in 10 minutes",
        description="They were too big, or the server drains. They are lost unless the producer"
        " puts them again.",
        panel=44,
    )
    yield rule(
        uid="beanwatch-drift",
        title="Jobs in limbo",
        severity="warning",
        query=named(f"absolute({ALL.server('drift')})"),
        hold="5m",
        summary=f"beanstalkd {NAME} has {VALUE} jobs that are in no state any more",
        description="A full disk under the binlog does that. Only a restart with the binlog finds"
        " them again.",
        panel=46,
    )


def _queues() -> Iterator[Rule]:
    where = f"{SECOND} on {FIRST}"
    about = f"var-server={FIRST}&var-queue={SECOND}"

    def named(stat: str) -> str:
        return g.alive(g.named(ALL.queue(stat), QUEUE_SERVER, QUEUE))

    yield Rule(
        uid="beanwatch-backlog",
        title="Backlog",
        severity="warning",
        query=named("current-jobs-ready"),
        limits=(BACKLOG,),
        hold="15m",
        summary=f"{VALUE} jobs wait in {where}",
        description="More ready jobs than allowed, for a quarter of an hour. Set the number to"
        " what your queues can bear.",
        heading="queue-depth",
        dashboard=page.QUEUE,
        panel=11,
        about=about,
        reduce="min",
        window=5 * MINUTE,
    )
    for severity, limit in zip(("warning", "critical"), limits.HEAD_AGE, strict=True):
        yield Rule(
            uid=f"beanwatch-head-age-{severity}",
            title=f"Head of a queue waits too long ({severity})",
            severity=severity,
            query=named("head_ready_age"),
            limits=(limit,),
            summary=f"The next job in {where} has been waiting for {DURATION}",
            description="Its workers are too few, too slow, or busy with other queues.",
            heading="queue-age",
            dashboard=page.QUEUE,
            panel=14,
            about=about,
        )
    yield Rule(
        uid="beanwatch-buried",
        title="Buried jobs",
        severity="warning",
        query=named("current-jobs-buried"),
        limits=(limits.BURIED,),
        summary=f"{VALUE} jobs are buried in {where}",
        description="They were set aside after failing. Find out why, then kick or delete them.",
        heading="queue-buried",
        dashboard=page.QUEUE,
        panel=11,
        about=about,
    )
    states = (
        ("no_watcher", "No consumers", "critical", "2m", "Jobs are ready and no worker watches."),
        ("stalled", "Consumers stalled", "critical", "2m", "It is watched, but no job is taken."),
        ("saturated", "Consumers saturated", "warning", "15m", "All are busy, here or elsewhere."),
    )
    for state, title, severity, hold, text in states:
        yield Rule(
            uid=f"beanwatch-consumers-{state.replace('_', '-')}",
            title=title,
            severity=severity,
            query=named("consumer_state"),
            compare="within_range",
            limits=_exactly(CONSUMER[state]),
            hold=hold,
            summary=f"{words.CONSUMERS[CONSUMER[state]][0].capitalize()}: {where}",
            description=text,
            heading="queue-consumers",
            dashboard=page.QUEUE,
            panel=21,
            about=about,
        )


def _workers() -> Iterator[Rule]:
    about = f"var-host={FIRST}&var-worker={SECOND}"

    def named(series: str) -> str:
        return g.alive(g.named(series, WORKER_HOST, WORKER_NAME))

    yield Rule(
        uid="beanwatch-no-worker",
        title="No worker alive",
        severity="critical",
        query=g.alias(g.alive(ALL.fleet("live")), "workers"),
        compare="lt",
        limits=(1,),
        hold="1m",
        summary="No worker is alive",
        description="Not one heartbeat is fresh.",
        heading="worker-heartbeat",
        dashboard=page.FLEET,
        panel=41,
    )
    states = (
        ("dead", "critical", "0s", "Its heartbeat stopped without a goodbye."),
        ("hung", "warning", "0s", "It makes no progress, or its job is past the deadline."),
        ("blocked", "warning", "5m", "It takes no jobs: disk nearly full, or no beanstalkd."),
    )
    for health, severity, hold, text in states:
        yield Rule(
            uid=f"beanwatch-worker-{health}",
            title=f"Worker {health}",
            severity=severity,
            query=named(ALL.worker("state")),
            compare="within_range",
            limits=_exactly(HEALTH[health]),
            hold=hold,
            summary=f"Worker {NAME} is {health}",
            description=text,
            heading="worker-heartbeat",
            dashboard=page.WORKER,
            panel=11,
            about=about,
        )
    yield Rule(
        uid="beanwatch-worker-restarted",
        title="Worker restarted",
        severity="warning",
        query=named(g.over(g.gained(ALL.worker("restarts")), "10min")),
        summary=f"Worker {NAME} was restarted {VALUE} times in 10 minutes",
        description="The one before was not told to end: a crash, a kill, or a hard deadline."
        " `beanwatch workers` says which.",
        heading="worker-heartbeat",
        dashboard=page.WORKER,
        panel=34,
        about=about,
    )


def _jobs() -> Iterator[Rule]:
    about = f"var-queue={FIRST}"

    def runs(*outcomes: str) -> str:
        counts = g.by(ALL.outcomes(*outcomes, stat="count"), JOB_QUEUE, JOB)
        return g.named(g.over(counts, limits.FAILED_SPAN), 0, 1)

    enough = f"removeBelowValue({runs()}, {limits.FAILED_RUNS})"
    share = g.alive(g.named(f"asPercent({runs(*words.FAILURES)}, {enough}, 0, 1)", 0, 1))
    for severity, limit in zip(("warning", "critical"), limits.FAILED, strict=True):
        yield Rule(
            uid=f"beanwatch-failures-{severity}",
            title=f"Jobs fail ({severity})",
            severity=severity,
            query=share,
            limits=(limit,),
            summary=f"{PERCENT} of the runs of {SECOND} from {FIRST} fail",
            description=f"Of at least {limits.FAILED_RUNS} runs in 10 minutes. `beanwatch job`"
            " tells why.",
            heading="job-failures",
            dashboard=page.QUEUE,
            panel=31,
            about=about,
        )
    yield Rule(
        uid="beanwatch-jobs-lost",
        title="Jobs poisonous, timed out or lost",
        severity="warning",
        query=g.alive(runs("poison", "timeout", "lost")),
        summary=f"{VALUE} runs of {SECOND} from {FIRST} killed their worker, timed out or were"
        " lost",
        description="In 10 minutes. Poison: the job killed its workers. Timeout: it took too long."
        " Lost: it had gone back before it was finished, and may have run twice.",
        heading="job-failures",
        dashboard=page.QUEUE,
        panel=31,
        about=about,
    )


def _exactly(code: int) -> tuple[float, float]:
    return code - 0.5, code + 0.5
