"""The alert rules: what the checks page for, as Grafana sees it in Graphite.

A rule cannot use dashboard variables: the prefix and the data source are written out. Every
series is an alert of its own, told apart by its alias, which so must be unique.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import yaml

from beanwatch.collectors import consumers, heartbeats, paths
from beanwatch.grafana import functions as g
from beanwatch.grafana import limits, page, runbook, words
from beanwatch.grafana.series import (
    JOB,
    JOB_TUBE,
    SERVER,
    TUBE,
    TUBE_SERVER,
    WORKER_HOST,
    WORKER_NAME,
    Series,
)

DATASOURCE_UID = "beanwatch-graphite"
FOLDER = "beanwatch"
INTERVAL = "1m"
EXPRESSION = "__expr__"
MINUTE, HOUR = 60, 3600
# What is older is not true any more: a tube that is gone must not be an alert for long.
FRESH = 2 * MINUTE
# A server that is not sent any more stays an alert for as long; points are 10 s apart for 2 days.
REMEMBERED = 6 * HOUR
# The operator's own number: how many ready jobs are too many depends on the tube.
BACKLOG = 1000.0

ALL = Series(paths.PREFIX, paths.PREFIX, servers="*")
CONSUMER, HEALTH = consumers.CODES, heartbeats.HEALTH_CODES

# The alias of a tube's series is <server>.<tube>; `$$` is Grafana's way to write `$` here.
NAME = "{{ $$labels.name }}"
FIRST = '{{ reReplaceAll "[.].*" "" $$labels.name }}'
SECOND = '{{ reReplaceAll "^[^.]*[.]" "" $$labels.name }}'
VALUE = "{{ $$values.B.Value }}"
DURATION = "{{ humanizeDuration $$values.B.Value }}"
PERCENT = '{{ printf "%.0f" $$values.B.Value }} %'


class Rule(NamedTuple):
    """`query` gives a series for each thing; its `reduce`d value is compared with `limits`."""

    uid: str
    title: str
    severity: str
    query: str
    compare: str  # gt, lt, within_range
    limits: tuple[float, ...]
    hold: str
    summary: str
    description: str
    heading: str
    dashboard: str
    panel: int
    about: str = ""  # variables of the dashboard that make it show what is wrong
    reduce: str = "last"
    window: int = FRESH
    no_data: str = "OK"


def rules() -> Iterator[Rule]:
    """Every rule, in the order of the runbook."""
    yield from _servers()
    yield from _tubes()
    yield from _workers()
    yield from _jobs()


def to_yaml() -> str:
    """The provisioning file."""
    group = {
        "orgId": 1,
        "name": "beanwatch",
        "folder": FOLDER,
        "interval": INTERVAL,
        "rules": [_rule(rule) for rule in rules()],
    }
    head = "# Made by `make dashboards` from grafana/alerts.py.\n"
    content = {"apiVersion": 1, "groups": [group]}
    return head + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)


def _servers() -> Iterator[Rule]:
    about = f"var-server={NAME}"
    rule = partial(Rule, heading="beanstalkd", dashboard=page.SERVER_PAGE, about=about)

    def named(series: str) -> str:
        return g.alive(g.named(series, SERVER))

    yield rule(
        "beanwatch-server-down",
        "Server down",
        "critical",
        named(ALL.server("up")),
        "lt",
        (1,),
        "1m",
        f"beanstalkd {NAME} does not answer",
        "The collector cannot read the server. Nothing is put or drained there.",
        panel=41,
    )
    silent = g.named(g.silent(ALL.collector("success")), SERVER)
    for severity, hold in (("warning", "0s"), ("critical", "3m")):
        minutes = limits.SILENT[severity == "critical"] / MINUTE
        yield Rule(
            f"beanwatch-collector-silent-{severity}",
            f"Collector silent ({severity})",
            severity,
            silent,
            "gt",
            (0,),
            hold,
            f"Nothing has been heard of {NAME} for {minutes:g} minutes",
            "The collector, Graphite or the way between them is broken: no other rule can fire.",
            "metrics-fresh",
            page.FLEET,
            61,
            window=REMEMBERED,
            no_data="Alerting",
        )
    yield rule(
        "beanwatch-server-restarted",
        "Server restarted",
        "warning",
        named(g.over(g.gained(ALL.server("restarts")), "10min")),
        "gt",
        (0,),
        "0s",
        f"beanstalkd {NAME} was restarted {VALUE} times in 10 minutes",
        "Without a binlog (-b) every job that it held is gone.",
        panel=42,
    )
    yield rule(
        "beanwatch-server-draining",
        "Server draining",
        "warning",
        named(ALL.server("draining")),
        "gt",
        (0,),
        "0s",
        f"beanstalkd {NAME} is draining and refuses new jobs",
        "Somebody sent it SIGUSR1. Only a restart ends it.",
        panel=43,
    )
    yield rule(
        "beanwatch-rejected-puts",
        "Puts rejected",
        "warning",
        named(g.over(g.gained(ALL.server("rejected_puts")), "10min")),
        "gt",
        (0,),
        "0s",
        f"beanstalkd {NAME} refused {VALUE} jobs in 10 minutes",
        "They were too big, or the server drains. They are lost unless the producer puts them"
        " again.",
        panel=44,
    )
    yield rule(
        "beanwatch-drift",
        "Jobs in limbo",
        "warning",
        named(f"absolute({ALL.server('drift')})"),
        "gt",
        (0,),
        "5m",
        f"beanstalkd {NAME} has {VALUE} jobs that are in no state any more",
        "A full disk under the binlog does that. Only a restart with the binlog finds them again.",
        panel=46,
    )


def _tubes() -> Iterator[Rule]:
    where = f"{SECOND} on {FIRST}"
    about = f"var-server={FIRST}&var-tube={SECOND}"

    def named(stat: str) -> str:
        return g.alive(g.named(ALL.tube(stat), TUBE_SERVER, TUBE))

    yield Rule(
        "beanwatch-backlog",
        "Backlog",
        "warning",
        named("current-jobs-ready"),
        "gt",
        (BACKLOG,),
        "15m",
        f"{VALUE} jobs wait in {where}",
        "More ready jobs than allowed, for a quarter of an hour. Set the number to what your"
        " tubes can bear.",
        "tube-depth",
        page.TUBE,
        11,
        about,
        reduce="min",
        window=5 * MINUTE,
    )
    for severity, limit in zip(("warning", "critical"), limits.HEAD_AGE, strict=True):
        yield Rule(
            f"beanwatch-head-age-{severity}",
            f"Head of a queue waits too long ({severity})",
            severity,
            named("head_ready_age"),
            "gt",
            (limit,),
            "0s",
            f"The next job in {where} has been waiting for {DURATION}",
            "Its workers are too few, too slow, or busy with other tubes.",
            "tube-age",
            page.TUBE,
            14,
            about,
        )
    yield Rule(
        "beanwatch-buried",
        "Buried jobs",
        "warning",
        named("current-jobs-buried"),
        "gt",
        (limits.BURIED,),
        "0s",
        f"{VALUE} jobs are buried in {where}",
        "They were set aside after failing. Find out why, then kick or delete them.",
        "tube-buried",
        page.TUBE,
        11,
        about,
    )
    states = (
        ("no_watcher", "No consumers", "critical", "2m", "Jobs are ready and no worker watches."),
        ("stalled", "Consumers stalled", "critical", "2m", "It is watched, but no job is taken."),
        ("saturated", "Consumers saturated", "warning", "15m", "All are busy; it does not shrink."),
    )
    for state, title, severity, hold, text in states:
        yield Rule(
            f"beanwatch-consumers-{state.replace('_', '-')}",
            title,
            severity,
            named("consumer_state"),
            "within_range",
            _exactly(CONSUMER[state]),
            hold,
            f"{words.CONSUMERS[CONSUMER[state]][0].capitalize()}: {where}",
            text,
            "tube-consumers",
            page.TUBE,
            21,
            about,
        )


def _workers() -> Iterator[Rule]:
    about = f"var-host={FIRST}&var-worker={SECOND}"

    def named(series: str) -> str:
        return g.alive(g.named(series, WORKER_HOST, WORKER_NAME))

    yield Rule(
        "beanwatch-no-worker",
        "No worker alive",
        "critical",
        g.alias(g.alive(ALL.fleet("live")), "workers"),
        "lt",
        (1,),
        "1m",
        "No worker is alive",
        "Not one heartbeat is fresh.",
        "worker-heartbeat",
        page.FLEET,
        41,
    )
    states = (
        ("dead", "critical", "0s", "Its heartbeat stopped without a goodbye."),
        ("hung", "warning", "0s", "It makes no progress, or its job is past the deadline."),
        ("blocked", "warning", "5m", "It takes no jobs: disk nearly full, or no beanstalkd."),
    )
    for health, severity, hold, text in states:
        yield Rule(
            f"beanwatch-worker-{health}",
            f"Worker {health}",
            severity,
            named(ALL.worker("state")),
            "within_range",
            _exactly(HEALTH[health]),
            hold,
            f"Worker {NAME} is {health}",
            text,
            "worker-heartbeat",
            page.WORKER,
            11,
            about,
        )
    yield Rule(
        "beanwatch-worker-restarted",
        "Worker restarted",
        "warning",
        named(g.over(g.gained(ALL.worker("restarts")), "10min")),
        "gt",
        (0,),
        "0s",
        f"Worker {NAME} was restarted {VALUE} times in 10 minutes",
        "A crash, a hard deadline, or a recycling; its log and `beanwatch workers` say which.",
        "worker-heartbeat",
        page.WORKER,
        34,
        about,
    )


def _jobs() -> Iterator[Rule]:
    about = f"var-tube={FIRST}"

    def runs(*outcomes: str) -> str:
        counts = g.by(ALL.outcomes(*outcomes, stat="count"), JOB_TUBE, JOB)
        return g.named(g.over(counts, limits.FAILED_SPAN), 0, 1)

    enough = f"removeBelowValue({runs()}, {limits.FAILED_RUNS})"
    share = g.alive(g.named(f"asPercent({runs(*words.FAILURES)}, {enough}, 0, 1)", 0, 1))
    for severity, limit in zip(("warning", "critical"), limits.FAILED, strict=True):
        yield Rule(
            f"beanwatch-failures-{severity}",
            f"Jobs fail ({severity})",
            severity,
            share,
            "gt",
            (limit,),
            "0s",
            f"{PERCENT} of the runs of {SECOND} from {FIRST} fail",
            f"Of at least {limits.FAILED_RUNS} runs in 10 minutes. `beanwatch job` tells why.",
            "job-failures",
            page.TUBE,
            31,
            about,
        )
    yield Rule(
        "beanwatch-jobs-lost",
        "Jobs poisonous, timed out or lost",
        "warning",
        g.alive(runs("poison", "timeout", "lost")),
        "gt",
        (0,),
        "0s",
        f"{VALUE} runs of {SECOND} from {FIRST} killed their worker, timed out or were lost",
        "In 10 minutes. Poison: the job killed its workers. Timeout: it took too long. Lost: it had"
        " gone back before it was finished, and may have run twice.",
        "job-failures",
        page.TUBE,
        31,
        about,
    )


def _exactly(code: int) -> tuple[float, float]:
    return code - 0.5, code + 0.5


def _rule(rule: Rule) -> dict[str, object]:
    target = f"{{{{ externalURL }}}}d/{rule.dashboard}"
    return {
        "uid": rule.uid,
        "title": rule.title,
        "condition": "C",
        "data": [
            _step("A", DATASOURCE_UID, rule.window, {"target": rule.query, "textEditor": True}),
            _step(
                "B",
                EXPRESSION,
                rule.window,
                {
                    "type": "reduce",
                    "expression": "A",
                    "reducer": rule.reduce,
                    "settings": {"mode": "dropNN"},
                },
            ),
            _step(
                "C",
                EXPRESSION,
                rule.window,
                {
                    "type": "threshold",
                    "expression": "B",
                    "conditions": [
                        {"evaluator": {"type": rule.compare, "params": list(rule.limits)}}
                    ],
                },
            ),
        ],
        "noDataState": rule.no_data,
        "execErrState": "Error",
        "for": rule.hold,
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": f"{runbook.BASE}#{rule.heading}",
            "dashboard_url": f"{target}?{rule.about}" if rule.about else target,
            "__dashboardUid__": rule.dashboard,
            "__panelId__": str(rule.panel),
        },
        "labels": {"severity": rule.severity, "service": "beanwatch"},
        "isPaused": False,
    }


def _step(ref: str, source: str, window: int, model: dict[str, object]) -> dict[str, object]:
    return {
        "refId": ref,
        "relativeTimeRange": {"from": window, "to": 0},
        "datasourceUid": source,
        "model": {"refId": ref, **model},
    }
