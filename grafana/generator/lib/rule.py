"""The alert rule, and the YAML file in which Grafana provisions the rules.

The module `prometheus_rules` writes the same rules for Prometheus.
"""

from collections.abc import Iterable
from typing import NamedTuple

import yaml

from beanwatch.grafana.generator.lib import runbook as runbook_links
from beanwatch.grafana.generator.lib.query import Query

DATASOURCE_UID = "beanwatch-graphite"
FOLDER = "beanwatch"
INTERVAL = "1m"
EXPRESSION = "__expr__"
MINUTE = 60
# A query covers only the last 2 minutes, so that the alert of a removed queue ends soon.
QUERY_WINDOW = 2 * MINUTE


class Rule(NamedTuple):
    """One alert rule, of Grafana with Graphite and of Prometheus.

    `query` returns one series for each server, queue or worker. Grafana makes one number of each
    series (`reduce`). The number is compared with `limits`, and each series that is outside is an
    alert. Its texts may contain `{value}`, `{duration}` (of a number of seconds), `{percent}`, and
    the names that the series has, such as `{server}`.
    """

    uid: str
    title: str
    severity: str
    query: Query
    names: tuple[str, ...]  # of a series, joined with dots: server, queue, job, host, name
    summary: str
    description: str
    runbook: str  # the heading of the runbook that the alert links to
    dashboard: str  # uid of the dashboard that the alert links to
    panel: int  # id of the panel there
    compare: str = "gt"  # gt, lt, within_range
    limits: tuple[float, ...] = (0,)
    hold: str = "0s"  # how long the limits must be exceeded before somebody is notified
    variables: str = ""  # URL parameters: the dashboard shows the queue or worker of the alert
    reduce: str = "last"  # last, min, max ...
    window: int = QUERY_WINDOW  # seconds that the query covers
    no_data: str = "OK"  # state of the rule while the query returns no series
    alert: str = ""  # the PromQL expression, if it is not the query and its limits
    record: str = ""  # the name under which Prometheus records the query, as several rules use it
    keep: str = "0s"  # how long Prometheus keeps the alert after its series are gone


# Templates of Grafana. The alias of a series has its names. `$$` stands for `$`.
WHOLE_NAME = "{{ $$labels.name }}"
FIRST_NAME = '{{ reReplaceAll "[.].*" "" $$labels.name }}'
SECOND_NAME = '{{ reReplaceAll "^[^.]*[.]" "" $$labels.name }}'
TEMPLATES = {
    "value": "{{ $$values.B.Value }}",
    "duration": "{{ humanizeDuration $$values.B.Value }}",
    "percent": '{{ printf "%.0f" $$values.B.Value }} %',
    "worker": WHOLE_NAME,
    "database": "Graphite",
    "server_or_any": '{{ or $$labels.name "any server" }}',
}


def _templates(rule: Rule) -> dict[str, str]:
    """Return the templates that stand for the placeholders of a rule's texts."""
    parts = (FIRST_NAME, SECOND_NAME) if len(rule.names) > 1 else (WHOLE_NAME,)
    return {**TEMPLATES, **dict(zip(rule.names, parts, strict=False))}


def to_yaml(rules: Iterable[Rule]) -> str:
    """Return the content of the provisioning file."""
    group = {
        "orgId": 1,
        "name": "beanwatch",
        "folder": FOLDER,
        "interval": INTERVAL,
        "rules": [_rule(rule) for rule in rules],
    }
    head = "# Made by `make dashboards` from grafana/generator/alerts.py.\n"
    content = {"apiVersion": 1, "groups": [group]}
    return head + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)


def _rule(rule: Rule) -> dict[str, object]:
    templates = _templates(rule)
    target = f"{{{{ externalURL }}}}d/{rule.dashboard}"
    variables = rule.variables.format_map(templates)
    return {
        "uid": rule.uid,
        "title": rule.title,
        "condition": "C",
        "data": [
            _step(
                "A",
                DATASOURCE_UID,
                rule.window,
                {"target": rule.query.graphite, "textEditor": True},
            ),
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
            "summary": rule.summary.format_map(templates),
            "description": rule.description.format_map(templates),
            "runbook_url": f"{runbook_links.BASE}#{rule.runbook}",
            "dashboard_url": f"{target}?{variables}" if variables else target,
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
