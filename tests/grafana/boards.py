"""The committed dashboards and alert rules, as the tests look at them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.real import ROOT

FOLDER = ROOT / "grafana"
NAMES = ("fleet", "queue", "worker", "server")
Json = dict[str, Any]
# What Grafana puts in by itself, for a short chart of a Prometheus that scrapes each second.
TIMES = {"__rate_interval": "10s", "__range": "1m", "__interval": "5s"}


class Query(NamedTuple):
    """One query of a dashboard: where it is, and its text with variables in it."""

    where: str
    text: str


def dashboard(name: str, source: str = "graphite") -> Json:
    path = f"dashboards/beanwatch-{name}.json"
    if source == "prometheus":
        path = f"prometheus/dashboards/beanwatch-{name}-prometheus.json"
    found: Json = json.loads((FOLDER / path).read_text())
    return found


def source_of(board: Json) -> str:
    """The type of data source that a dashboard is for."""
    found: str = variables(board)["datasource"]["query"]
    return found


def text_of(target: Json) -> str:
    """The query of a panel, in the language of its data source."""
    found: str = target["expr"] if "expr" in target else target["target"]
    return found


def panels(board: Json) -> Iterator[Json]:
    """All but the rows, which are headings."""
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        elif panel.get("panels"):
            raise AssertionError(f"a collapsed row: {panel['title']}")


def variables(board: Json) -> dict[str, Json]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def targets(board: Json) -> Iterator[Query]:
    """Of every panel and every annotation."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Query(f"{panel['title']} ({panel['id']}) {target['refId']}", text_of(target))
    for event in board["annotations"]["list"]:
        yield Query(event["name"], text_of(event["target"]))


def labelled(panel: Json) -> Iterator[tuple[str, str]]:
    """Each query of a panel, with the panel's title, and in a table the column's."""
    labels = [panel["title"]] * len(panel["targets"])
    if panel["type"] == "table":
        _, *columns = panel["fieldConfig"]["overrides"]  # the first is the name of the row
        labels = [f"{panel['title']}: {column['matcher']['options']}" for column in columns]
    for label, target in zip(labels, panel["targets"], strict=True):
        yield label, text_of(target)


def variable_queries(board: Json) -> Iterator[Query]:
    for name, variable in variables(board).items():
        if variable["type"] == "query":
            yield Query(name, variable["query"])


def put_in(text: str, values: Mapping[str, str]) -> str:
    """The text with the variables' values, as Grafana writes them: several as {a,b}."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], text)


def rules(path: Path = FOLDER / "alerting" / "beanwatch-rules.yaml") -> list[Json]:
    (group,) = yaml.safe_load(path.read_text())["groups"]
    found: list[Json] = group["rules"]
    return found
