"""The alert rules: the problems that the checks report, as Grafana sees them in Graphite.

A rule cannot use variables of a dashboard: the prefix and the data source are written out. Every
series is an alert of its own. Alerts are told apart by the alias, which must be unique.
"""

from collections.abc import Iterator
from functools import partial

from beanwatch.grafana.generator import beanstalkd
from beanwatch.grafana.generator.lib import graphite, limits, page, states
from beanwatch.grafana.generator.lib.patterns import (
    ANY,
    JOB,
    JOB_QUEUE,
    QUEUE,
    QUEUE_SERVER,
    SERVER,
    WORKER_HOST,
    WORKER_NAME,
    Patterns,
)
from beanwatch.grafana.generator.lib.rule import MINUTE, Rule
from beanwatch.queues import consumers
from beanwatch.store import health
from beanwatch.telemetry.series import PREFIX

HOUR = 60 * MINUTE
# A server whose series have ended stays an alert for so long. It must be shorter than the finest
# archive of the storage schema (6 h): a coarser one has no points that are 10 s apart.
REMEMBERED = 5 * HOUR
# How many ready jobs are too many depends on the queue: the operator sets this number.
BACKLOG = 1000.0

EVERY = Patterns(PREFIX, PREFIX, servers=ANY)
CONSUMER, HEALTH = consumers.CODES, health.HEALTH_CODES

# The alias of a queue's series is <server>.<queue>; `$$` is Grafana's way to write `$` here.
NAME = "{{ $$labels.name }}"
NAME_OR_ANY = '{{ or $$labels.name "any server" }}'
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
    rule = partial(
        Rule,
        runbook="queue-server",
        dashboard=page.SERVER_PAGE,
        variables=f"var-server={NAME}",
    )

    def named(series: str) -> str:
        return graphite.nonempty(graphite.name_by(series, SERVER))

    yield rule(
        uid="beanwatch-server-down",
        title="Server down",
        severity="critical",
        query=named(EVERY.server("up")),
        compare="lt",
        limits=(1,),
        hold="1m",
        summary=f"Server {NAME} does not answer",
        description="The collector cannot read the server. No job is put or taken there.",
        panel=41,
    )
    silent = graphite.name_by(graphite.silent(EVERY.collector("success")), SERVER)
    for severity, hold in (("warning", "0s"), ("critical", "3m")):
        minutes = limits.SILENT[severity == "critical"] / MINUTE
        yield Rule(
            uid=f"beanwatch-collector-silent-{severity}",
            title=f"Collector silent ({severity})",
            severity=severity,
            query=silent,
            hold=hold,
            summary=f"No point of {NAME_OR_ANY} has arrived for {minutes:g} minutes",
            description="The collector, Graphite or the way between them is broken: no other rule"
            " can fire.",
            runbook="metrics-fresh",
            dashboard=page.FLEET,
            panel=61,
            window=REMEMBERED,
            no_data="Alerting",
        )
    yield rule(
        uid="beanwatch-server-restarted",
        title="Server restarted",
        severity="warning",
        query=named(graphite.moving(graphite.increase(EVERY.server("restarts")), "10min")),
        summary=f"Server {NAME} was restarted {VALUE} times in 10 minutes",
        description="If it keeps its jobs in memory only (beanstalkd without -b), those that it"
        " held are gone.",
        panel=42,
    )
    yield rule(
        uid="beanwatch-server-draining",
        title="Server draining",
        severity="warning",
        query=named(EVERY.server("draining")),
        summary=f"Server {NAME} is draining: it refuses new jobs",
        description="Somebody told it to. The runbook says how to end it.",
        panel=43,
    )
    yield from beanstalkd.rules(EVERY, NAME, VALUE)
    yield rule(
        uid="beanwatch-missing-jobs",
        title="Jobs missing",
        severity="warning",
        query=named(EVERY.server("missing_jobs")),
        hold="5m",
        summary=f"Server {NAME} has lost {VALUE} jobs",
        description="They were put, not deleted, and are in no state any more. A full disk does"
        " that.",
        panel=46,
    )


def _queues() -> Iterator[Rule]:
    where = f"{SECOND} on {FIRST}"
    variables = f"var-server={FIRST}&var-queue={SECOND}"

    def named(measure: str) -> str:
        return graphite.nonempty(graphite.name_by(EVERY.queue(measure), QUEUE_SERVER, QUEUE))

    yield Rule(
        uid="beanwatch-backlog",
        title="Backlog",
        severity="warning",
        query=named("ready"),
        limits=(BACKLOG,),
        hold="15m",
        summary=f"{VALUE} jobs are ready in {where}",
        description="More ready jobs than allowed, for a quarter of an hour. Set the number that"
        " your queues can bear.",
        runbook="queue-depth",
        dashboard=page.QUEUE,
        panel=11,
        variables=variables,
        reduce="min",
        window=5 * MINUTE,
    )
    for severity, limit in zip(("warning", "critical"), limits.HEAD_AGE, strict=True):
        yield Rule(
            uid=f"beanwatch-head-age-{severity}",
            title=f"First job waits too long ({severity})",
            severity=severity,
            query=named("head_ready_age"),
            limits=(limit,),
            summary=f"The first ready job in {where} has been waiting for {DURATION}",
            description="Its consumers are too few, too slow, or busy with other queues.",
            runbook="queue-age",
            dashboard=page.QUEUE,
            panel=14,
            variables=variables,
        )
    yield Rule(
        uid="beanwatch-buried",
        title="Buried jobs",
        severity="warning",
        query=named("buried"),
        limits=(limits.BURIED,),
        summary=f"{VALUE} jobs are buried in {where}",
        description="They were given up after failing. Find out why, then kick or delete them.",
        runbook="queue-buried",
        dashboard=page.QUEUE,
        panel=11,
        variables=variables,
    )
    problems = (
        ("no_consumer", "critical", "2m", "Jobs are ready and nobody could take them."),
        ("stalled", "critical", "2m", "Consumers are connected, but no job is taken."),
        ("saturated", "warning", "15m", "All consumers are busy, and the queue does not shrink."),
    )
    for state, severity, hold, text in problems:
        word = states.CONSUMERS[CONSUMER[state]][0].capitalize()
        yield Rule(
            uid=f"beanwatch-consumers-{state.replace('_', '-')}",
            title=f"Queue: {word.lower()}",
            severity=severity,
            query=named("consumer_state"),
            compare="within_range",
            limits=_exactly(CONSUMER[state]),
            hold=hold,
            summary=f"{word}: {where}",
            description=text,
            runbook="queue-consumers",
            dashboard=page.QUEUE,
            panel=21,
            variables=variables,
        )


def _workers() -> Iterator[Rule]:
    variables = f"var-host={FIRST}&var-worker={SECOND}"

    def named(series: str) -> str:
        return graphite.nonempty(graphite.name_by(series, WORKER_HOST, WORKER_NAME))

    yield Rule(
        uid="beanwatch-no-worker",
        title="No worker alive",
        severity="critical",
        query=graphite.alias(graphite.nonempty(EVERY.all_workers("live")), "workers"),
        compare="lt",
        limits=(1,),
        hold="1m",
        summary="No worker is alive",
        description="There is no heartbeat that is not too old.",
        runbook="worker-heartbeat",
        dashboard=page.FLEET,
        panel=41,
    )
    problems = (
        ("dead", "critical", "0s", "Its heartbeat stopped, and nobody told it to stop."),
        ("hung", "warning", "0s", "It makes no progress, or its job is past the deadline."),
        (
            "blocked",
            "warning",
            "5m",
            "It takes no jobs: its disk is nearly full, or its server does not answer.",
        ),
    )
    for state, severity, hold, text in problems:
        yield Rule(
            uid=f"beanwatch-worker-{state}",
            title=f"Worker {state}",
            severity=severity,
            query=named(EVERY.worker("state")),
            compare="within_range",
            limits=_exactly(HEALTH[state]),
            hold=hold,
            summary=f"Worker {NAME} is {state}",
            description=text,
            runbook="worker-heartbeat",
            dashboard=page.WORKER,
            panel=11,
            variables=variables,
        )
    yield Rule(
        uid="beanwatch-worker-restarted",
        title="Worker restarted",
        severity="warning",
        query=named(graphite.moving(graphite.increase(EVERY.worker("restarts")), "10min")),
        summary=f"Worker {NAME} was restarted {VALUE} times in 10 minutes",
        description="Nobody told it to stop: a crash, a kill, or a hard deadline. `beanwatch"
        " workers` says which.",
        runbook="worker-heartbeat",
        dashboard=page.WORKER,
        panel=34,
        variables=variables,
    )


def _jobs() -> Iterator[Rule]:
    variables = f"var-queue={FIRST}"

    def runs(*outcomes: str) -> str:
        counts = graphite.group_by(EVERY.outcomes(*outcomes, stat="count"), JOB_QUEUE, JOB)
        return graphite.name_by(graphite.moving(counts, limits.FAILED_SPAN), 0, 1)

    enough = f"removeBelowValue({runs()}, {limits.FAILED_RUNS})"
    failed = f"asPercent({runs(*states.FAILURES)}, {enough}, 0, 1)"
    share = graphite.nonempty(graphite.name_by(failed, 0, 1))
    for severity, limit in zip(("warning", "critical"), limits.FAILED, strict=True):
        yield Rule(
            uid=f"beanwatch-failures-{severity}",
            title=f"Jobs fail ({severity})",
            severity=severity,
            query=share,
            limits=(limit,),
            summary=f"{PERCENT} of the runs of {SECOND} from {FIRST} fail",
            description=f"Of at least {limits.FAILED_RUNS} runs in 10 minutes. `beanwatch job`"
            " says why.",
            runbook="job-failures",
            dashboard=page.QUEUE,
            panel=31,
            variables=variables,
        )
    yield Rule(
        uid="beanwatch-jobs-lost",
        title="Jobs poison, timed out or lost",
        severity="warning",
        query=graphite.nonempty(runs(*states.SERIOUS)),
        summary=f"{VALUE} runs of {SECOND} from {FIRST} killed their worker, timed out or were"
        " lost",
        description="In 10 minutes. Poison: the job killed its workers. Timeout: it took too long."
        " Lost: it had gone back to the queue before it was finished, and may have run twice.",
        runbook="job-failures",
        dashboard=page.QUEUE,
        panel=31,
        variables=variables,
    )


def _exactly(code: int) -> tuple[float, float]:
    return code - 0.5, code + 0.5
