"""The alert rules. They find in Graphite the problems that the checks report.

A rule cannot use the variables of a dashboard, so the prefix and the data source are written out.
Each series of a rule is an alert of its own. Grafana tells alerts apart by the alias of the series,
so the alias must be unique.
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
# Seconds for which a server without new points stays an alert. It must be less than the finest
# archive of the storage schema (6 h), because only there are the points 10 s apart.
SILENCE_WINDOW = 5 * HOUR
# Ready jobs. Only the operator knows how many are too many, and changes this number.
BACKLOG = 1000.0

EVERY = Patterns(PREFIX, PREFIX, servers=ANY)
CONSUMER, HEALTH = consumers.CODES, health.HEALTH_CODES

# Templates for texts. The alias of a queue's series is <server>.<queue>. `$$` stands for `$`.
NAME = "{{ $$labels.name }}"
NAME_OR_ANY = '{{ or $$labels.name "any server" }}'
FIRST_NODE = '{{ reReplaceAll "[.].*" "" $$labels.name }}'
SECOND_NODE = '{{ reReplaceAll "^[^.]*[.]" "" $$labels.name }}'
VALUE = "{{ $$values.B.Value }}"
DURATION = "{{ humanizeDuration $$values.B.Value }}"
PERCENT = '{{ printf "%.0f" $$values.B.Value }} %'


def rules() -> Iterator[Rule]:
    """Yield every rule, in the order of the runbook."""
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
        description="The collector cannot read the server. Probably nobody can put or take jobs"
        " there.",
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
            description="The collector, Graphite or the network between them is down. Until it is"
            " up again, no other rule can fire.",
            runbook="metrics-fresh",
            dashboard=page.FLEET,
            panel=61,
            window=SILENCE_WINDOW,
            no_data="Alerting",
        )
    yield rule(
        uid="beanwatch-server-restarted",
        title="Server restarted",
        severity="warning",
        query=named(graphite.moving(graphite.increase(EVERY.server("restarts")), "10min")),
        summary=f"Restarts of server {NAME} in 10 minutes: {VALUE}",
        description="If the server keeps its jobs in memory only (beanstalkd without -b), the jobs"
        " that it had are lost.",
        panel=42,
    )
    yield rule(
        uid="beanwatch-server-draining",
        title="Server draining",
        severity="warning",
        query=named(EVERY.server("draining")),
        summary=f"Server {NAME} is draining: it refuses new jobs",
        description="Somebody told the server to drain. The runbook says how to end this.",
        panel=43,
    )
    yield from beanstalkd.rules(EVERY, NAME, VALUE)
    yield rule(
        uid="beanwatch-missing-jobs",
        title="Jobs missing",
        severity="warning",
        query=named(EVERY.server("missing_jobs")),
        hold="5m",
        summary=f"Jobs that server {NAME} has lost: {VALUE}",
        description="The jobs were put and never deleted, but are in no state any more. A full disk"
        " can cause this.",
        panel=46,
    )


def _queues() -> Iterator[Rule]:
    where = f"{SECOND_NODE} on {FIRST_NODE}"
    variables = f"var-server={FIRST_NODE}&var-queue={SECOND_NODE}"

    def named(measure: str) -> str:
        return graphite.nonempty(graphite.name_by(EVERY.queue(measure), QUEUE_SERVER, QUEUE))

    yield Rule(
        uid="beanwatch-backlog",
        title="Backlog",
        severity="warning",
        query=named("ready"),
        limits=(BACKLOG,),
        hold="15m",
        summary=f"Ready jobs in {where}: {VALUE}",
        description="The queue has had more ready jobs than the rule allows for 15 minutes. Set the"
        " limit of the rule to what your queues need.",
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
            description="The queue has too few consumers, or they are slow or busy with other"
            " queues.",
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
        summary=f"Buried jobs in {where}: {VALUE}",
        description="Workers buried the jobs because they failed. Find out why, then kick or delete"
        " them.",
        runbook="queue-buried",
        dashboard=page.QUEUE,
        panel=11,
        variables=variables,
    )
    problems = (
        ("no_consumer", "critical", "2m", "Jobs are ready, and no consumer is connected."),
        ("stalled", "critical", "2m", "Consumers are connected, but take none of the ready jobs."),
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
    variables = f"var-host={FIRST_NODE}&var-worker={SECOND_NODE}"

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
        description="No worker has sent a heartbeat recently.",
        runbook="worker-heartbeat",
        dashboard=page.FLEET,
        panel=41,
    )
    problems = (
        ("dead", "critical", "0s", "Its heartbeat stopped, but nobody told the worker to stop."),
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
        summary=f"Restarts of worker {NAME} in 10 minutes: {VALUE}",
        description="Nobody told the worker to stop: it crashed, was killed, or passed a hard"
        " deadline. `beanwatch workers` says which.",
        runbook="worker-heartbeat",
        dashboard=page.WORKER,
        panel=34,
        variables=variables,
    )


def _jobs() -> Iterator[Rule]:
    variables = f"var-queue={FIRST_NODE}"

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
            summary=f"{PERCENT} of the runs of job {SECOND_NODE} in queue {FIRST_NODE} fail",
            description=f"There were at least {limits.FAILED_RUNS} runs in 10 minutes. `beanwatch"
            " job ID` says why a job failed.",
            runbook="job-failures",
            dashboard=page.QUEUE,
            panel=31,
            variables=variables,
        )
    yield Rule(
        uid="beanwatch-jobs-lost",
        title="Runs poison, timed out or lost",
        severity="warning",
        query=graphite.nonempty(runs(*states.SERIOUS)),
        summary=f"Runs of job {SECOND_NODE} in queue {FIRST_NODE} that were poison, timed out"
        f" or lost: {VALUE}",
        description="These are the runs of the last 10 minutes. Poison: the job killed its workers."
        " Timeout: the run took too long. Lost: the server did not confirm that the job is done,"
        " so it may run twice.",
        runbook="job-failures",
        dashboard=page.QUEUE,
        panel=31,
        variables=variables,
    )


def _exactly(code: int) -> tuple[float, float]:
    return code - 0.5, code + 0.5
