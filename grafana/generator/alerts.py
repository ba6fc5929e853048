"""The alert rules. They find in Graphite or Prometheus the problems that the checks report.

A rule cannot use the variables of a dashboard, so the prefix and the data source are written out.
Each series of a rule is an alert of its own. Grafana tells alerts apart by the alias of Graphite's
series, so the alias must be unique.
"""

from collections.abc import Iterator
from functools import partial

from beanwatch.grafana.generator import beanstalkd
from beanwatch.grafana.generator.lib import limits, page, queries, query, states
from beanwatch.grafana.generator.lib.patterns import (
    ANY,
    GROUP,
    QUEUE,
    QUEUE_SERVER,
    SERVER,
    WORKER_HOST,
    WORKER_NAME,
    Patterns,
)
from beanwatch.grafana.generator.lib.query import Node, Query
from beanwatch.grafana.generator.lib.rule import MINUTE, Rule
from beanwatch.queues import consumers
from beanwatch.store import health
from beanwatch.telemetry.series import PREFIX

HOUR = 60 * MINUTE
SILENCE_WINDOW = queries.SILENCE_HOURS * HOUR
# Ready jobs. Only the operator knows how many are too many, and changes this number.
BACKLOG = 1000.0

EVERY = Patterns(PREFIX, PREFIX, servers=ANY)
CONSUMER, HEALTH = consumers.CODES, health.HEALTH_CODES

# How long Prometheus keeps an alert whose series are gone: while a server is down, nobody knows
# its queues. An outage that is shorter neither ends the alert nor causes a second one.
KEEP = "2m"


HUNG = "It makes no progress, or its job is past the deadline."


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
        names=("server",),
        variables="var-server={server}",
    )

    def named(series: Query) -> Query:
        return query.nonempty(query.name_by(series, SERVER))

    yield rule(
        uid="beanwatch-server-down",
        title="Server down",
        severity="critical",
        query=named(EVERY.server("up")),
        compare="lt",
        limits=(1,),
        hold="1m",
        summary="The collector cannot read server {server}",
        description="The server does not answer, or it refuses the collector. The collector's log"
        " and `beanwatch doctor` say which. If it does not answer, nobody can put or take jobs.",
        panel=41,
    )
    yield rule(
        uid="beanwatch-queues-not-read",
        title="Queues not read",
        severity="critical",
        query=named(EVERY.collector("queues_success")),
        compare="lt",
        limits=(0.5,),
        hold="5m",
        summary="The queues of server {server} cannot be read",
        description="The server answers, but does not tell the numbers of its queues in time. Until"
        " it does, no rule about its queues can fire. The collector's log says why.",
        panel=41,
    )
    yield rule(
        uid="beanwatch-queues-partly-read",
        title="Queues partly read",
        severity="warning",
        query=named(EVERY.collector("queues_success")),
        compare="within_range",
        limits=(0, 1),
        hold="15m",
        summary="Some numbers of the queues of server {server} cannot be read",
        description="The server answers, but some numbers of its queues are missing, such as ages,"
        " or all of one queue. No rule about these can fire. The collector's log says which.",
        panel=41,
    )
    for severity, limit, hold in (("warning", 1, "5m"), ("critical", 2, "2m")):
        yield rule(
            uid=f"beanwatch-server-problem-{severity}",
            title=f"Server shows a problem ({severity})",
            severity=severity,
            query=named(EVERY.server("problem")),
            limits=(limit - 0.5,),
            hold=hold,
            summary="Server {server} shows a problem itself",
            description="It may refuse new jobs, miss a node, or list workers that have died."
            " `check_queue_server`, the live page and the collector's log say what it is.",
            panel=41,
        )
    silent = query.name_by(queries.silent(EVERY), SERVER)
    none_at_all = f"absent_over_time({EVERY.poll_age()}[{queries.SILENCE_HOURS}h])"
    anything = f"({silent.promql}) > 0 or {none_at_all}"
    # A Prometheus that was started just now has not had the time to scrape the collector.
    scraped = f"count(last_over_time(up[1m] offset {queries.SILENT_AFTER}s))"
    for severity, hold in (("warning", "0s"), ("critical", "3m")):
        minutes = limits.SILENT[severity == "critical"] / MINUTE
        yield Rule(
            uid=f"beanwatch-collector-silent-{severity}",
            title=f"Collector silent ({severity})",
            severity=severity,
            query=silent,
            alert=f"({anything}) and on () {scraped}",
            names=("server",),
            hold=hold,
            summary=f"No point of {{server_or_any}} has arrived for {minutes:g} minutes",
            description="The collector, {database} or the network between them is down. Until it is"
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
        query=named(query.risen(EVERY.server("restarts"), 10)),
        summary="Restarts of server {server} in 10 minutes: {value}",
        description="If the server keeps its jobs in memory only (beanstalkd without -b), the jobs"
        " that it had are lost.",
        panel=42,
    )
    yield rule(
        uid="beanwatch-server-draining",
        title="Server draining",
        severity="warning",
        query=named(EVERY.server("draining")),
        summary="Server {server} is draining: it refuses new jobs",
        description="Somebody told the server to drain. The runbook says how to end this.",
        panel=43,
    )
    yield from beanstalkd.rules(EVERY)
    yield rule(
        uid="beanwatch-missing-jobs",
        title="Jobs missing",
        severity="warning",
        query=named(EVERY.server("missing_jobs")),
        hold="5m",
        summary="Jobs that server {server} has lost: {value}",
        description="The jobs were put and never deleted, but are in no state any more. A full disk"
        " can cause this.",
        panel=46,
    )


def _queues() -> Iterator[Rule]:
    rule = partial(
        Rule,
        names=("server", "queue"),
        dashboard=page.QUEUE,
        variables="var-server={server}&var-queue={queue}",
        keep=KEEP,
    )

    def named(measure: str, hold: str = "0s") -> Query:
        series = EVERY.queue(measure)
        series = series._replace(promql=_over_gaps(series.promql, hold))
        return query.nonempty(query.name_by(series, QUEUE_SERVER, QUEUE))

    yield rule(
        uid="beanwatch-backlog",
        title="Backlog",
        severity="warning",
        query=named("ready", "15m"),
        limits=(BACKLOG,),
        hold="15m",
        summary="Ready jobs in {queue} on {server}: {value}",
        description="The queue has had more ready jobs than the rule allows for 15 minutes. Set the"
        " limit of the rule to what your queues need.",
        runbook="queue-depth",
        panel=11,
        reduce="min",
        window=5 * MINUTE,
    )
    for severity, limit in zip(("warning", "critical"), limits.HEAD_AGE, strict=True):
        yield rule(
            uid=f"beanwatch-head-age-{severity}",
            title=f"First job waits too long ({severity})",
            severity=severity,
            query=named("head_ready_age"),
            limits=(limit,),
            summary="The first ready job in {queue} on {server} has been waiting for {duration}",
            description="The queue has too few consumers, or they are slow or busy with other"
            " queues.",
            runbook="queue-age",
            panel=14,
        )
    yield rule(
        uid="beanwatch-buried",
        title="Buried jobs",
        severity="warning",
        query=named("buried"),
        limits=(limits.BURIED,),
        summary="Buried jobs in {queue} on {server}: {value}",
        description="Workers buried the jobs because they failed. Find out why, then kick or delete"
        " them.",
        runbook="queue-buried",
        panel=11,
    )
    problems = (
        ("no_consumer", "critical", "2m", "Jobs are ready, and no consumer is connected."),
        ("stalled", "critical", "2m", "Consumers are connected, but take none of the ready jobs."),
        ("saturated", "warning", "15m", "All consumers are busy, and the queue does not shrink."),
    )
    for state, severity, hold, text in problems:
        word = states.CONSUMERS[CONSUMER[state]][0].capitalize()
        yield rule(
            uid=f"beanwatch-consumers-{state.replace('_', '-')}",
            title=f"Queue: {word.lower()}",
            severity=severity,
            query=named("consumer_state"),
            alert=_present(_over_gaps(EVERY.queue_in(state), hold), QUEUE_SERVER, QUEUE),
            compare="within_range",
            limits=_exactly(CONSUMER[state]),
            hold=hold,
            summary=f"{word}: {{queue}} on {{server}}",
            description=text,
            runbook="queue-consumers",
            panel=21,
        )


def _workers() -> Iterator[Rule]:
    rule = partial(
        Rule,
        names=("host", "name"),
        runbook="worker-heartbeat",
        dashboard=page.WORKER,
        variables="var-host={host}&var-worker={name}",
        keep=KEEP,
    )

    def named(series: Query) -> Query:
        return query.nonempty(query.name_by(series, WORKER_HOST, WORKER_NAME))

    yield Rule(
        uid="beanwatch-heartbeats-not-read",
        title="Heartbeats not read",
        severity="critical",
        query=query.alias(query.nonempty(EVERY.all_workers("success")), "workers"),
        compare="lt",
        limits=(1,),
        hold="2m",
        names=(),
        summary="The heartbeats of the workers cannot be read",
        description="Their Redis does not answer, or takes no writes. Until it does, no rule about"
        " workers and their jobs can fire.",
        runbook="redis",
        dashboard=page.FLEET,
        panel=41,
    )
    yield Rule(
        uid="beanwatch-workers-missing",
        title="Workers missing",
        severity="critical",
        query=query.nonempty(query.name_by(EVERY.worker_group("missing"), GROUP)),
        hold="2m",
        names=("group",),
        summary="Missing workers, expected as {group}: {value}",
        description="Fewer workers are alive than `workers.expected` in the configuration demands,"
        " or no worker with an id in it has been heard of.",
        runbook="worker-heartbeat",
        dashboard=page.FLEET,
        panel=41,
        keep=KEEP,
    )
    yield Rule(
        uid="beanwatch-no-worker",
        title="No worker alive",
        severity="critical",
        query=query.alias(query.nonempty(EVERY.all_workers("live")), "workers"),
        compare="lt",
        limits=(1,),
        hold="1m",
        names=(),
        summary="No worker sends a heartbeat",
        description="No worker has sent a heartbeat recently.",
        runbook="worker-heartbeat",
        dashboard=page.FLEET,
        panel=41,
    )
    problems = (
        (
            "dead",
            "critical",
            "1m",
            "It has sent no heartbeat for a while, and nobody told it to stop. Or it ended, and did"
            " not start again.",
        ),
        ("hung", "warning", "0s", HUNG),
        (
            "blocked",
            "warning",
            "5m",
            "It takes no jobs: its disk is nearly full, or its server does not answer.",
        ),
    )
    for state, severity, hold, text in problems:
        yield rule(
            uid=f"beanwatch-worker-{state}",
            title=f"Worker {state}",
            severity=severity,
            query=named(EVERY.worker("state")),
            alert=_present(_over_gaps(EVERY.worker_in(state), hold), WORKER_HOST),
            compare="within_range",
            limits=_exactly(HEALTH[state]),
            hold=hold,
            summary=f"Worker {{worker}} is {state}",
            description=text,
            panel=11,
        )
    yield rule(
        uid="beanwatch-worker-hung-long",
        title="Worker hung for long",
        severity="critical",
        query=named(EVERY.worker("state")),
        alert=_present(_over_gaps(EVERY.worker_in("hung"), "10m"), WORKER_HOST),
        compare="within_range",
        limits=_exactly(HEALTH["hung"]),
        hold="10m",
        summary="Worker {worker} has been hung for 10 minutes",
        description=HUNG,
        panel=11,
    )
    yield rule(
        uid="beanwatch-worker-restarted",
        title="Worker restarted",
        severity="warning",
        query=named(query.risen(EVERY.worker("restarts"), 10)),
        summary="Restarts of worker {worker} in 10 minutes: {value}",
        description="Nobody told the worker to stop: it crashed, was killed, or passed a hard"
        " deadline. `beanwatch workers` says which.",
        panel=34,
    )


def _jobs() -> Iterator[Rule]:
    rule = partial(
        Rule,
        names=("queue", "job"),
        runbook="job-failures",
        dashboard=page.QUEUE,
        variables="var-queue={queue}",
        panel=31,
    )
    share = query.nonempty(queries.failed_share_by_job(EVERY))
    for severity, limit in zip(("warning", "critical"), limits.FAILED, strict=True):
        yield rule(
            uid=f"beanwatch-failures-{severity}",
            title=f"Jobs fail ({severity})",
            severity=severity,
            query=share,
            record="beanwatch:job_failures:percent10m",
            limits=(limit,),
            summary="{percent} of the runs of job {job} in queue {queue} fail",
            description=f"There were at least {limits.FAILED_RUNS} runs in 10 minutes. `beanwatch"
            " job ID` says why a job failed.",
        )
    yield rule(
        uid="beanwatch-jobs-lost",
        title="Runs poison, timed out or lost",
        severity="warning",
        query=query.nonempty(queries.runs_by_job(EVERY, *states.SERIOUS)),
        summary="Runs of job {job} in queue {queue} that were poison, timed out or lost: {value}",
        description="These are the runs of the last 10 minutes. Poison: the job killed its workers."
        " Timeout: the run took too long. Lost: the server did not confirm that the job is done,"
        " so it may run twice.",
    )


def _present(samples: str, *nodes: Node) -> str:
    """Return the PromQL expression for the series that are in the state of these samples."""
    return f"{query.name_by(Query('', samples), *nodes).promql} == 1"


def _over_gaps(samples: str, hold: str) -> str:
    """Return PromQL that looks back over a gap, if the rule holds an alert back for long.

    One missing sample begins `for` anew. A server whose polls fail now and then would never get the
    alert. With a short `hold`, a single sample and a gap would be enough for an alert.
    """
    is_long = int(hold[:-1]) > int(KEEP[:-1])  # both in minutes, or 0
    return f"last_over_time({samples}[{KEEP}])" if is_long else samples


def _exactly(code: int) -> tuple[float, float]:
    return code - 0.5, code + 0.5
