"""An alert rule is complete, for Grafana's file provisioning and for the person who is paged."""

import re

import pytest
import yaml

from tests.grafana import boards
from tests.grafana.boards import Json
from tests.real import ROOT

RULES = boards.rules()
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["uid"])
PANELS = {
    board["uid"]: {panel["id"] for panel in boards.panels(board)}
    for board in map(boards.dashboard, boards.NAMES)
}


def test_uids_and_titles_are_unique_and_short_enough() -> None:
    for key in ("uid", "title"):
        values = [rule[key] for rule in RULES]
        assert len(values) == len(set(values))
    assert all(re.fullmatch(r"[a-z-]{1,40}", rule["uid"]) for rule in RULES)


@every_rule
def test_it_is_a_query_a_reduction_and_a_threshold(rule: Json) -> None:
    query, reduction, threshold = rule["data"]
    assert [step["refId"] for step in rule["data"]] == ["A", "B", "C"]
    assert rule["condition"] == "C"
    assert query["datasourceUid"] == "beanwatch-graphite"
    assert reduction["datasourceUid"] == threshold["datasourceUid"] == "__expr__"
    assert reduction["model"]["settings"] == {"mode": "dropNN"}
    assert (reduction["model"]["expression"], threshold["model"]["expression"]) == ("A", "B")
    # A queue that is gone must neither be an alert nor an error.
    assert "removeEmptySeries(" in query["model"]["target"]
    assert rule["noDataState"] == ("Alerting" if "silent" in rule["uid"] else "OK")


@every_rule
def test_only_a_rule_about_native_numbers_names_a_queue_system_in_its_summary(rule: Json) -> None:
    target = rule["data"][0]["model"]["target"]
    is_native = "rejected_puts" in target
    assert ("beanstalkd" in rule["annotations"]["summary"]) == is_native


@every_rule
def test_it_uses_no_variable_no_other_query_and_no_environment(rule: Json) -> None:
    target = rule["data"][0]["model"]["target"]
    assert "$" not in target
    assert "#" not in target
    # `$` is expanded from the environment; `$$` is a `$`.
    assert "$" not in yaml.safe_dump(rule).replace("$$", "")


@every_rule
def test_it_tells_what_is_wrong_and_where_to_look(rule: Json) -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    headings = {line[3:] for line in text.splitlines() if line.startswith("## ")}
    notes = rule["annotations"]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert notes["summary"]
    assert notes["description"].endswith(".")
    assert notes["runbook_url"].partition("#")[2] in headings
    assert int(notes["__panelId__"]) in PANELS[notes["__dashboardUid__"]]
    assert f"/d/{notes['__dashboardUid__']}" in f"/{notes['dashboard_url'].split('}}')[1]}"


def test_no_notification_policy_is_provisioned() -> None:
    provisioned = (boards.FOLDER / "alerting").glob("*.yaml")
    for path in provisioned:
        assert yaml.safe_load(path.read_text()).keys() == {"apiVersion", "groups"}, path


def test_the_rules_ask_the_data_source_that_ships() -> None:
    path = boards.FOLDER / "provisioning" / "datasources" / "beanwatch.yaml"
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    assert (source["type"], source["access"]) == ("graphite", "proxy")
    assert {rule["data"][0]["datasourceUid"] for rule in RULES} == {source["uid"]}


def test_the_examples_are_apart_from_what_is_placed_and_route_what_the_rules_label() -> None:
    policies = yaml.safe_load((boards.FOLDER / "examples" / "policies.yaml").read_text())
    points = yaml.safe_load((boards.FOLDER / "examples" / "contact-points.yaml").read_text())
    (tree,) = policies["policies"]
    assert tree["receiver"] in {point["name"] for point in points["contactPoints"]}
    matched = {tuple(route["object_matchers"][1]) for route in tree["routes"]}
    assert matched == {("severity", "=", rule["labels"]["severity"]) for rule in RULES}
