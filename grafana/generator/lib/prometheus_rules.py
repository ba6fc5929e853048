"""The YAML file with the alert rules for Prometheus, and the recording rules that they use."""

from collections.abc import Iterable

import yaml

from beanwatch.grafana.generator.lib import runbook as runbook_links
from beanwatch.grafana.generator.lib.rule import INTERVAL, Rule
from beanwatch.grafana.generator.lib.source import PROMETHEUS

COMPARISONS = {"gt": "> {:g}", "lt": "< {:g}", "within_range": "> {:g} < {:g}"}
WORKER = "$labels.worker"  # <host>.<name>
TEMPLATES = {
    # Prometheus extrapolates rises, so that counts have fractions.
    "value": '{{ $value | printf "%.0f" }}',
    "duration": "{{ $value | humanizeDuration }}",
    "percent": '{{ $value | printf "%.0f" }} %',
    "server": "{{ $labels.server }}",
    "server_or_any": '{{ or $labels.server "any server" }}',
    "queue": "{{ $labels.queue }}",
    "job": "{{ $labels.job }}",
    "group": "{{ $labels.group }}",
    "worker": f"{{{{ {WORKER} }}}}",
    "host": f'{{{{ reReplaceAll "[.].*" "" {WORKER} }}}}',
    "name": f'{{{{ reReplaceAll "^[^.]*[.]" "" {WORKER} }}}}',
    "database": "Prometheus",
}
IN_URL = {name: text.replace(" }}", " | urlquery }}") for name, text in TEMPLATES.items()}


def to_yaml(rules: Iterable[Rule]) -> str:
    """Return the content of the rules file."""
    head = "# Made by `make dashboards` from grafana/generator/alerts.py. Needs Prometheus 2.42.\n"
    rules = list(rules)
    recorded = {rule.record: rule.query.promql for rule in rules if rule.record}
    records = [{"record": name, "expr": promql} for name, promql in recorded.items()]
    alerts = [_rule(rule) for rule in rules]
    group = {"name": "beanwatch", "interval": INTERVAL, "rules": [*records, *alerts]}
    return head + yaml.safe_dump({"groups": [group]}, sort_keys=False, width=100)


def expression(rule: Rule) -> str:
    """Return the PromQL expression of a rule: each series of its result is an alert."""
    compared = (
        f"{rule.record or rule.query.promql} {COMPARISONS[rule.compare].format(*rule.limits)}"
    )
    return rule.alert or compared


def name_of(rule: Rule) -> str:
    """Return the name of the alert. The rules for warning and critical share it."""
    words = rule.uid.removesuffix(f"-{rule.severity}").split("-")
    return "".join(word.capitalize() for word in words)


def _rule(rule: Rule) -> dict[str, object]:
    dashboard = f"d/{rule.dashboard}{PROMETHEUS.uid_suffix}"
    variables = rule.variables.format_map(IN_URL)
    times = {"for": rule.hold, "keep_firing_for": rule.keep}
    return {
        "alert": name_of(rule),
        "expr": expression(rule),
        **{key: value for key, value in times.items() if value != "0s"},
        "labels": {"severity": rule.severity, "service": "beanwatch"},
        "annotations": {
            "summary": rule.summary.format_map(TEMPLATES),
            "description": rule.description.format_map(TEMPLATES),
            "runbook_url": f"{runbook_links.BASE}#{rule.runbook}",
            # Below the address of Grafana, which Prometheus does not know.
            "dashboard_path": f"{dashboard}?{variables}" if variables else dashboard,
        },
    }
