"""An alert rule, and its form in a file that Grafana provisions."""

from collections.abc import Iterable
from typing import NamedTuple

import yaml

from beanwatch.grafana.generator.lib import runbook as runbook_links

DATASOURCE_UID = "beanwatch-graphite"
FOLDER = "beanwatch"
INTERVAL = "1m"
EXPRESSION = "__expr__"
MINUTE = 60
# Older points are not looked at: a queue that is gone must not stay an alert for long.
FRESH = 2 * MINUTE


class Rule(NamedTuple):
    """`query` makes one series for each server, queue or worker.

    Its `reduce`d value is compared with `limits`; each series that exceeds them is an alert.
    """

    uid: str
    title: str
    severity: str
    query: str
    summary: str
    description: str
    runbook: str  # a heading of the runbook
    dashboard: str
    panel: int
    compare: str = "gt"  # gt, lt, within_range
    limits: tuple[float, ...] = (0,)
    hold: str = "0s"  # how long it must last before anybody is notified
    variables: str = ""  # of the dashboard, so that it shows what the alert is about
    reduce: str = "last"
    window: int = FRESH  # seconds that the query covers
    no_data: str = "OK"


def to_yaml(rules: Iterable[Rule]) -> str:
    """The provisioning file."""
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
