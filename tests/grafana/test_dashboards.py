"""A dashboard is complete, for every Grafana that imports it and for the person who reads it."""

import re
import subprocess
import sys

import pytest
from grafana_foundation_sdk.models import dashboard as model

from beanwatch.checks import job_failures, metrics_fresh, queue_age, queue_buried
from beanwatch.grafana.generator.lib import limits, measures, states
from beanwatch.grafana.generator.lib.patterns import Patterns
from beanwatch.telemetry import series
from tests.grafana import boards
from tests.grafana.boards import Json
from tests.real import ROOT

BOARDS = {name: boards.dashboard(name) for name in boards.NAMES}
PROMETHEUS = {f"{name}-prometheus": boards.dashboard(name, "prometheus") for name in boards.NAMES}
BOTH = {**BOARDS, **PROMETHEUS}
graphite_dashboard = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
every_dashboard = pytest.mark.parametrize("board", BOTH.values(), ids=BOTH)


def datasource(board: Json) -> Json:
    return {"type": boards.source_of(board), "uid": "${datasource}"}


def test_the_committed_files_are_what_the_code_makes() -> None:
    command = [sys.executable, "-m", "beanwatch.grafana.generator", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_series_that_nobody_emits_cannot_be_drawn() -> None:
    with pytest.raises(KeyError, match=r"no series <prefix>.queue.<server>.<queue>.burried"):
        Patterns().queue("burried")
    with pytest.raises(KeyError, match="no such outcome: faild"):
        Patterns().outcomes("ok", "faild")
    with pytest.raises(KeyError, match="no such timer: duration"):
        Patterns().timer("duration", "middle")


def test_a_job_is_found_by_its_worker_or_among_those_of_all_workers() -> None:
    every = Patterns("p", "w", servers="q1", queues="t")
    assert every.outcomes("ok").graphite == "w.job.q1.t.*.*.ok.rate"
    # `?` stands for `_`, so that `*?*` finds the node `all` too
    one = Patterns("p", "w", hosts="$host", workers="$worker")
    assert one.timer("wait", "mean").graphite == "w.job.$server.*.*.$host?$worker.wait.mean"


@pytest.mark.parametrize(
    "row", [one for group in series.GROUPS for one in group.series], ids=lambda row: row.name
)
def test_every_row_of_the_table_has_a_unit_and_a_sentence_for_panels(row: series.Series) -> None:
    assert measures.unit_of(row)
    text = measures.describe(row, "More.")
    assert text[0] == text[0].upper()
    assert text.endswith(". More.")


@every_dashboard
def test_it_is_what_the_sdk_knows_as_a_dashboard(board: Json) -> None:
    read = model.Dashboard.from_json(board)
    assert read.title == board["title"]
    assert {panel["type"] for panel in boards.panels(board)} <= {
        "stat",
        "timeseries",
        "table",
        "state-timeline",
    }


@every_dashboard
def test_it_has_a_fixed_uid_is_read_only_and_names_no_data_source(board: Json) -> None:
    assert board["uid"].startswith("beanwatch-")
    assert board["editable"] is False
    assert "id" not in board
    found = boards.variables(board)["datasource"]
    assert (found["type"], found["label"]) == ("datasource", "Data source")
    own = datasource(board)
    for variable in boards.variables(board).values():
        assert variable.get("datasource", own) == own
    for event in board["annotations"]["list"]:
        assert event["datasource"] == event["target"]["datasource"] == own
        assert own["type"] == "prometheus" or event["target"]["fromAnnotations"] is True


@every_dashboard
def test_every_panel_says_what_it_shows(board: Json) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    for panel in boards.panels(board):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == datasource(board)
        assert panel["targets"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        if panel["type"] in ("timeseries", "state-timeline"):
            assert panel["options"]["legend"]["showLegend"] is True
        if panel["type"] == "stat":
            # The newest value or none: never one that was true an hour ago.
            assert panel["options"]["reduceOptions"]["calcs"] == ["last"]
            if boards.source_of(board) == "prometheus":
                assert all(target["instant"] for target in panel["targets"])


UNITS = {
    (group.stem.split(".")[1], row.name): measures.unit_of(row)
    for group in series.GROUPS
    for row in group.series
}
MEASURE = re.compile(r"prefix\.(server|queue|worker|workers|collector)\.(?:[^.,()]+\.)*\{?(\w+)")
# These make another unit of a measure's.
CHANGED = re.compile(r"perSecond|asPercent|scale\((?!max)")
# A duration in days and hours is in seconds too.
READABLE = {"dtdurations": "s"}


@graphite_dashboard
def test_units_are_those_of_the_table(board: Json) -> None:
    checked = 0
    for panel in boards.panels(board):
        units = panel_units(panel)
        for target in panel["targets"]:
            found = {UNITS[key] for key in MEASURE.findall(target["target"]) if key in UNITS}
            if len(found) == 1 and not CHANGED.search(target["target"]):
                unit = units[target["refId"]]
                assert READABLE.get(unit, unit) in found, (panel["title"], target["refId"])
                checked += 1
    assert checked >= 10


def panel_units(panel: Json) -> dict[str, str]:
    """The unit of each query: the panel's, or in a table the column's."""
    default = panel["fieldConfig"]["defaults"]["unit"]
    units = {target["refId"]: default for target in panel["targets"]}
    if panel["type"] == "table":
        columns = [
            next(one["value"] for one in override["properties"] if one["id"] == "unit")
            for override in panel["fieldConfig"]["overrides"][1:]
        ]
        units = dict(zip(units, columns, strict=True))
    return units


@every_dashboard
def test_what_is_unknown_is_shown_as_unknown(board: Json) -> None:
    for panel in boards.panels(board):
        assert panel["fieldConfig"]["defaults"]["noValue"] == "n/a", panel["title"]


@graphite_dashboard
def test_a_number_is_never_made_up_but_for_counts_of_events(board: Json) -> None:
    for query in boards.targets(board):
        for made_up in re.findall(
            r"fallbackSeries\(.*?alias\(scale\((.*?), 0\), 'none'\)", query.text
        ):
            known = MEASURE.findall(made_up) or pytest.fail(query.text)
            shown = MEASURE.findall(query.text.partition("alias(scale(")[0])
            # Zero is drawn where the measure itself is known, or where runs of jobs are counted.
            assert set(known) == set(shown) or known == [("workers", "live")], query
        assert "constantLine" not in query.text


@every_dashboard
def test_panels_leave_no_gap_and_do_not_overlap(board: Json) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height


@every_dashboard
def test_its_variables_look_again_and_cover_prefixes_of_others(board: Json) -> None:
    found = boards.variables(board)
    is_graphite = boards.source_of(board) == "graphite"
    assert ({"prefix", "worker_prefix"} <= found.keys()) == is_graphite
    for variable in found.values():
        assert variable["type"] in ("datasource", "query", "textbox")
        if variable["type"] == "query":
            assert variable["refresh"] == 2
        if variable.get("includeAll"):
            assert variable["allValue"] == ("*" if is_graphite else ".*")
    for query in (*boards.targets(board), *boards.variable_queries(board)):
        known = {**dict.fromkeys(found, "x"), **boards.TIMES}
        boards.put_in(query.text, known)  # raises for one that is not there
        assert "beanwatch." not in query.text


@pytest.mark.parametrize("name", boards.NAMES)
def test_the_readme_names_the_panels_that_prometheus_has_no_data_for(name: str) -> None:
    text = (boards.FOLDER / "README.md").read_text().partition("## Prometheus")[2]
    (line,) = re.findall(r"^- Panels that .*?(?=^- )", text, re.M | re.S)
    told = re.search(rf"{name.capitalize()}: (.*?)[.,] ?(?:[A-Z]|and the)", line, re.S)
    kept = {panel["id"] for panel in boards.panels(PROMETHEUS[f"{name}-prometheus"])}
    missing = {p["title"] for p in boards.panels(BOARDS[name]) if p["id"] not in kept}
    named = re.findall(r"\*([^*]+)\*", told[1]) if told else []
    assert {" ".join(title.split()) for title in named} == missing


def is_other(one: Json, board: Json) -> bool:
    """True if it is a dashboard for the other kind of data source."""
    return boards.source_of(one) != boards.source_of(board)


@every_dashboard
def test_it_links_to_the_others_and_keeps_time_and_variables(board: Json) -> None:
    others = next(link for link in board["links"] if link["type"] == "dashboards")
    assert others["tags"] == board["tags"]
    assert all(one["tags"] != board["tags"] for one in BOTH.values() if is_other(one, board))
    assert others["keepTime"]
    assert others["includeVars"]
    assert all("placement" not in link for link in board["links"])


@every_dashboard
def test_every_link_leads_to_a_heading_of_the_runbook_or_a_dashboard(board: Json) -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    headings = {line[3:] for line in text.splitlines() if line.startswith("## ")}
    for panel in boards.panels(board):
        assert len(panel["links"]) == 1
        for link in panel["links"]:
            base, _, heading = link["url"].partition("#")
            assert base == "${runbook}"
            assert heading in headings
        for override in panel["fieldConfig"]["overrides"]:
            for found in override["properties"]:
                for link in found["value"] if found["id"] == "links" else ():
                    assert link["url"].startswith("/d/beanwatch-")
                    assert "${__url_time_range}" in link["url"]
                    uid = link["url"].split("?")[0].removeprefix("/d/")
                    assert uid in {one["uid"] for one in BOTH.values() if not is_other(one, board)}


def test_limits_are_those_of_the_checks() -> None:
    def both(threshold: object) -> tuple[float, ...]:
        values = (getattr(threshold, "warning", ""), getattr(threshold, "critical", ""))
        return tuple(float(value) for value in values if value)

    assert both(queue_age.DEFAULT_LIMITS) == limits.HEAD_AGE
    assert both(queue_buried.DEFAULT_LIMITS) == (limits.BURIED,)
    assert both(job_failures.DEFAULT_LIMITS) == limits.FAILED
    assert both(metrics_fresh.DEFAULT_LIMITS) == limits.SILENT
    assert (job_failures.MIN_RUNS, job_failures.WINDOW_MINUTES) == (
        limits.FAILED_RUNS,
        limits.FAILED_MINUTES,
    )
    assert job_failures.FAILED_OUTCOMES == states.FAILURES
