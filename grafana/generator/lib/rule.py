"""The alert rule, and the YAML file in which Grafana provisions the rules."""

from collections.abc import Iterable
from typing import NamedTuple

import yaml

from beanwatch.grafana.generator.lib import runbook as runbook_links

DATASOURCE_UID = "beanwatch-graphite"
FOLDER = "beanwatch"
INTERVAL = "1m"
EXPRESSION = "__expr__"
MINUTE = 60
# A query covers only the last 2 minutes, so that the alert of a removed queue ends soon.
QUERY_WINDOW = 2 * MINUTE


class Rule(NamedTuple):
    """One alert rule of Grafana.

    `query` returns one series for each server, queue or worker. `reduce` makes one number of each
    series. Grafana compares this number with `limits`, and each series that is outside is an alert.
    """

    uid: str
    title: str
    severity: str
    query: str
    summary: str
    description: str
    runbook: str  # the heading of the runbook that the alert links to
    dashboard: str  # uid of the dashboard that the alert links to
    panel: int  # id of the panel there
    compare: str = "gt"  # gt, lt, within_range
    limits: tuple[float, ...] = (0,)
    hold: str = "0s"  # how long the limits must be exceeded before Grafana notifies
    variables: str = ""  # URL parameters: the dashboard shows the queue or worker of the alert
    reduce: str = "last"  # last, min, max ...
    window: int = QUERY_WINDOW  # seconds that the query covers
    no_data: str = "OK"  # state of the rule while the query returns no series


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
            "runbook_url": f"{runbook_links.BASE}#{rule.runbook}",
            "dashboard_url": f"{target}?{rule.variables}" if rule.variables else target,
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
