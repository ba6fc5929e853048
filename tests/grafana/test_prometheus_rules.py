"""Each alert rule for Prometheus fires when it must, with its text, and is quiet otherwise."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.grafana import boards
from tests.grafana.boards import Json
from tests.grafana.rule_cases import CASES, POLL_AGE, READY, Case, consumers, health
from tests.real.prometheus import promtool

FILE = boards.FOLDER / "prometheus" / "beanwatch.rules.yml"
EXAMPLES = boards.FOLDER / "prometheus" / "examples"
(GROUP,) = yaml.safe_load(FILE.read_text())["groups"]
ALERTS = {
    (one["alert"], one["labels"]["severity"]): one for one in GROUP["rules"] if "alert" in one
}

every_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.alert}-{case.severity}"
)


def judge(tmp_path: Path, series: Mapping[str, str], minute: int, **expected: list[Json]) -> None:
    """Evaluate the rules on these series until a minute, and compare what promtool finds then."""
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    for test in expected.values():
        for one in test:
            one["eval_time"] = f"{minute}m"
    tests = [{"interval": "1m", "input_series": inputs, **expected}]
    path = tmp_path / "test.yml"
    path.write_text(json.dumps({"rule_files": [str(FILE)], "tests": tests}))
    promtool("test", "rules", path)


def firing(*, name: str = "", severity: str = "", expected: int = 0) -> list[Json]:
    """A test of how many alerts fire."""
    chosen = f'alertname=~"{name or ".+"}",severity=~"{severity or ".+"}",alertstate="firing"'
    samples = [{"labels": "{}", "value": expected}]
    return [{"expr": f"count(ALERTS{{{chosen}}}) or vector(0)", "exp_samples": samples}]


@every_case
def test_it_fires_with_its_text_and_the_labels_of_what_it_is_about(
    case: Case, tmp_path: Path
) -> None:
    fired = [ALERTS[case.alert, case.severity]]
    if case.severity == "critical" and (case.alert, "warning") in ALERTS:
        fired.append(ALERTS[case.alert, "warning"])
    alerts = []
    for rule in fired:
        is_weaker = rule["labels"]["severity"] != case.severity
        summary = case.summary.replace("5 minutes", "2 minutes") if is_weaker else case.summary
        own = {"summary": summary, "dashboard_path": case.path}
        alerts.append(
            {
                "exp_labels": {**case.labels, **rule["labels"]},
                "exp_annotations": {**rule["annotations"], **own},
            }
        )
    test = [{"alertname": case.alert, "exp_alerts": alerts}]
    judge(tmp_path, case.fires, case.minute, alert_rule_test=test)


@every_case
def test_it_is_quiet_when_all_is_well_or_not_yet_certain(case: Case, tmp_path: Path) -> None:
    for series in case.quiet:
        test = firing(name=case.alert, severity=case.severity)
        judge(tmp_path, series, case.minute, promql_expr_test=test)


def test_every_rule_has_a_case() -> None:
    assert {(case.alert, case.severity) for case in CASES} == ALERTS.keys()


def test_promtool_finds_no_fault_in_the_rules_and_the_examples() -> None:
    assert f"{len(GROUP['rules'])} rules found" in promtool("check", "rules", FILE)
    promtool("check", "config", "--syntax-only", EXAMPLES / "prometheus.yml")
    subprocess.run(["amtool", "check-config", EXAMPLES / "alertmanager.yml"], check=True)


def test_without_any_collector_there_is_an_alert_that_says_so(tmp_path: Path) -> None:
    rule = ALERTS["BeanwatchCollectorSilent", "warning"]
    summary = "No point of any server has arrived for 2 minutes"
    alert = {
        "exp_labels": rule["labels"],
        "exp_annotations": {**rule["annotations"], "summary": summary},
    }
    test = [{"alertname": "BeanwatchCollectorSilent", "exp_alerts": [alert]}]
    judge(tmp_path, {"up": "0x3"}, 3, alert_rule_test=test)


@pytest.mark.parametrize(
    "series",
    [
        {"up": "0"},  # a new Prometheus, and the first scrape
        {POLL_AGE: "1x9 _x9 1x9", "up": "1x9 _x9 1x9"},  # one that was away for ten minutes
    ],
)
def test_a_prometheus_that_starts_waits_for_the_collector(
    series: Mapping[str, str], tmp_path: Path
) -> None:
    for minute in (0, 1, 19, 20, 21, 22, 23):
        judge(tmp_path, series, minute, promql_expr_test=firing(name="BeanwatchCollectorSilent"))


def test_an_outage_of_a_server_ends_no_alert_of_a_queue_unless_it_lasts(tmp_path: Path) -> None:
    # While a server is down it has no series of queues.
    short = {consumers("no_consumer"): "1 1 1 1 stale _ 1 1", POLL_AGE: "1x20"}
    name = "BeanwatchConsumersNoConsumer"
    for minute in (3, 4, 5, 6, 7):
        judge(tmp_path, short, minute, promql_expr_test=firing(name=name, expected=1))
    long = {consumers("no_consumer"): "1 1 1 1 stale", POLL_AGE: "1x20"}
    judge(tmp_path, long, 8, promql_expr_test=firing())


@pytest.mark.parametrize(
    ("name", "series", "minutes"),
    [
        ("Backlog", READY, 15),
        ("ConsumersSaturated", consumers("saturated"), 15),
        ("WorkerHungLong", health("hung"), 10),
        ("WorkerBlocked", health("blocked"), 5),
    ],
    ids=["backlog", "saturated", "hung", "blocked"],
)
def test_a_poll_that_fails_now_and_then_does_not_delay_an_alert(
    name: str, series: str, minutes: int, tmp_path: Path
) -> None:
    value = 1001 if name == "Backlog" else 1
    values = f"{value} {value} stale " * 8
    test = firing(name=f"Beanwatch{name}", expected=1)
    judge(tmp_path, {series: values}, minutes, promql_expr_test=test)
    is_over = [*values.split()[:minutes], "0"]
    test = firing(name=f"Beanwatch{name}")
    judge(tmp_path, {series: " ".join(is_over)}, minutes, promql_expr_test=test)


def test_a_dead_worker_is_an_alert_until_it_is_forgotten(tmp_path: Path) -> None:
    series = {health("dead"): "0 1x60 stale", POLL_AGE: "1x90"}
    name = "BeanwatchWorkerDead"
    judge(tmp_path, series, 61, promql_expr_test=firing(name=name, expected=1))
    judge(tmp_path, series, 65, promql_expr_test=firing(name=name))


def test_it_is_the_same_alert_as_grafanas() -> None:
    graphite = boards.rules()
    assert len(graphite) == len(ALERTS)
    for one, other in zip(graphite, ALERTS.values(), strict=True):
        assert one["labels"] == other["labels"]
        assert one["for"] == other.get("for", "0s")
        assert one["annotations"]["runbook_url"] == other["annotations"]["runbook_url"]
        text = one["annotations"]["description"].replace("Graphite", "Prometheus")
        assert text == other["annotations"]["description"]
        uid = one["annotations"]["__dashboardUid__"]
        assert other["annotations"]["dashboard_path"].startswith(f"d/{uid}-prometheus")


def test_the_example_routes_what_the_rules_label() -> None:
    config = yaml.safe_load((EXAMPLES / "alertmanager.yml").read_text())
    receivers = {one["name"] for one in config["receivers"]}
    routes = config["route"]["routes"]
    assert {route["receiver"] for route in routes} <= receivers
    routed = {route["matchers"][-1] for route in routes}
    assert routed == {f'severity = "{severity}"' for _, severity in ALERTS}
