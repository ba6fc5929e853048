"""check_metrics_fresh asks a real Graphite."""

import time
from pathlib import Path
from typing import Any

import pytest

from beanwatch.checks.lib.plugin import Unknown
from beanwatch.checks.lib.plugin_process import PluginOutput
from beanwatch.checks.metrics_fresh import (
    Series,
    newest_age,
    parse_series,
    parser,
    with_live_graphite,
)
from beanwatch.cli.lib.probes.render import parse_render
from beanwatch.config import Config
from beanwatch.net.http import HttpError, parse_response
from tests.checks.conftest import Check
from tests.real import Graphite, HttpSink, wait_until

OK, WARNING, CRITICAL, UNKNOWN = range(4)


def test_fresh_points_are_well_and_old_ones_are_not(check: Check, graphite: Graphite, prefix: str):
    series = f"{prefix}.collector.q1.success"
    graphite.send(series, 1, time.time() - 200)
    assert graphite.latest(series) == 1
    arguments = ("--graphite-url", graphite.url, "--prefix", prefix)
    answer = check("metrics_fresh", *arguments)
    assert answer.code == WARNING
    assert f"{series}: the newest point is 3m " in answer.text
    assert check("metrics_fresh", *arguments, "-c", "100").code == CRITICAL
    graphite.send(series, 1)
    wait_until(lambda: check("metrics_fresh", *arguments).code == OK)


def test_a_configured_server_without_a_series_is_critical(
    check: Check, graphite: Graphite, prefix: str, tmp_path: Path
):
    graphite.send(f"{prefix}.collector.q1.success", 1)
    graphite.latest(f"{prefix}.collector.q1.success")
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'prefix = "{prefix}"\n[graphite]\nurl = "{graphite.url}"\n'
        '[servers]\nq1 = "127.0.0.1:1"\nq2 = "127.0.0.1:2"\n'
    )
    answer = check("metrics_fresh", "--config", config)
    assert answer.code == CRITICAL
    assert f"Graphite has no series {prefix}.collector.q2.success" in answer.text
    assert "q1" not in answer.text
    assert check("metrics_fresh", "--config", config, "--missing", "ok").code == OK


def test_an_error_of_graphite_is_unknown_and_hides_the_password(check: Check):
    with HttpSink(status=502) as web:
        url = web.url.replace("http://", "http://me:secret@")
        answer = check("metrics_fresh", "--graphite-url", url)
        assert web.requests[0].headers["authorization"] == "Basic bWU6c2VjcmV0"
    assert answer.code == UNKNOWN
    assert "cannot read Graphite: 127.0.0.1" in answer.text
    assert "HTTP 502" in answer.text
    assert "secret" not in str(answer)


def test_the_newest_point_is_the_last_with_a_value_by_graphites_clock():
    assert newest_age([[1.0, 100], [None, 110], [None, 120]]) == 20
    assert newest_age([[None, 100]]) is None
    assert newest_age([]) is None
    assert newest_age([[1.0, 140]]) == 0


@pytest.mark.parametrize("skew", [-1800, 1800])
def test_a_wrong_clock_of_the_monitoring_host_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, graphite: Graphite, prefix: str, skew: int
):
    """A slow clock would hide that no points arrive, and a fast one would be a false alert."""
    now = time.time()
    for name, age in (("fresh", 0), ("stale", 400)):
        graphite.send(f"{prefix}.collector.{name}.success", 1, now - age)
    monkeypatch.setattr(time, "time", lambda: now + skew)
    options = parser().parse_args(["--graphite-url", graphite.url, "--prefix", prefix])
    options.timeout, options.timeout_state = 10.0, Unknown
    check = with_live_graphite(options, Config(), PluginOutput("metrics_fresh"))

    def ages() -> dict[str, float]:
        return {metric.value.name.split(".")[2]: metric.value.age for metric in found()}

    def found() -> list[Any]:
        return [one for one in check.resources[0].probe() if isinstance(one.value, Series)]

    # Graphite lists a series before it has its first point.
    wait_until(lambda: len(ages()) == 2 and None not in ages().values())
    assert 0 <= ages()["fresh"] < 100
    assert 390 <= ages()["stale"] < 500


def test_the_age_of_a_test_metric_in_doctor_is_by_graphites_clock_too():
    body = b'[{"target": "a", "datapoints": [[1, 100], [null, 110], [null, 120]]}]'
    (series,) = parse_render(body)
    assert series.end - series.points[-1][1] == 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}x",
        b'[{"target": "a"}]',
        b"[1]",
        b"[[[[",
        b"null",
        b'[{"target": "a", "datapoints": [[1, NaN]]}]',
        b'[{"target": "a", "datapoints": [[1, 1e999]]}]',
    ],
)
def test_what_is_no_answer_of_the_render_api_is_said(body: bytes):
    with pytest.raises(HttpError, match="the reply is not the JSON of its render API"):
        parse_series(body)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the server closed the connection without an answer"),
        (b"hello\r\n\r\n", "the reply is not HTTP"),
        (b"HTTP/1.1 200 OK", "the answer was cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "the answer was cut off"),
        (b"HTTP/1.1 301 Moved\r\n\r\n", "HTTP 301 Moved"),
    ],
)
def test_only_a_whole_good_answer_counts(answer: bytes, reason: str):
    with pytest.raises(HttpError, match=reason):
        parse_response(answer, "graphite")
    assert parse_response(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nab", "graphite") == b"ab"
