"""An alert rule, and what Grafana's file provisioning wants to read of it."""

from collections.abc import Iterable
from typing import NamedTuple

import yaml

from beanwatch.grafana.generator import runbook

DATASOURCE_UID = "beanwatch-graphite"
FOLDER = "beanwatch"
INTERVAL = "1m"
EXPRESSION = "__expr__"
MINUTE = 60
# What is older is not true any more: a queue that is gone must not be an alert for long.
FRESH = 2 * MINUTE


class Rule(NamedTuple):
    """`query` gives a series for each thing; its `reduce`d value is compared with `limits`."""

    uid: str
    title: str
    severity: str
    query: str
    summary: str
    description: str
    heading: str
    dashboard: str
    panel: int
    compare: str = "gt"  # gt, lt, within_range
    limits: tuple[float, ...] = (0,)
    hold: str = "0s"  # for so long before anybody is told
    about: str = ""  # variables of the dashboard that make it show what is wrong
    reduce: str = "last"
    window: int = FRESH
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
    head = "# Made by `make dashboards` from grafana/alerts.py.\n"
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
