"""The charts of a page that was just started: the hour before, from real servers of series."""

import math
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from beanwatch.config import Config, ConfigError, ServerConfig, WebConfig
from beanwatch.config.reader import parse
from beanwatch.web.history import POINTS, STEP, History
from tests.real import Beanstalkd, Graphite, wait_until
from tests.real.process import closed_port
from tests.real.prometheus import Prometheus
from tests.web.conftest import Fleet, Pages

AGO = 10 * 60  # seconds
PLACE = POINTS - 1 - int(AGO // STEP)


def use(fleet: Fleet, history: str, **graphite: str) -> None:
    """Let the page read the hour before its start."""
    fleet.config = fleet.config._replace(
        web=WebConfig(history), graphite=Config().graphite._replace(**graphite)
    )


def near(points: list[float | None]) -> list[float]:
    """The known points of about AGO."""
    return [one for one in points[PLACE - 2 : PLACE + 2] if one is not None]


def history_of(pages: Pages) -> dict[str, Any]:
    pages.read()
    found: dict[str, Any] = pages.json("/queue", server="q1", name="email.a")["history"]
    return found


def test_graphite_fills_the_hour_before_the_start(fleet: Fleet, graphite: Graphite) -> None:
    fleet.put("email.a")
    prefix = "pastweb"
    fleet.config = fleet.config._replace(prefix=prefix)
    use(fleet, "graphite", url=graphite.url)
    at = time.time() - AGO
    stem = f"{prefix}.queue.q1.email_a"
    graphite.send(f"{stem}.ready", 7, at)
    graphite.send(f"{stem}.put_rate", 2.5, at)
    graphite.send(f"{stem}.head_ready_age", 40, at)
    graphite.send(f"{prefix}.queue.q1.default.ready", 5, at)
    wait_until(lambda: graphite.values(f"{prefix}.*.*.*.*", since="-1h").count(40.0))
    with fleet.pages() as pages:
        found = history_of(pages)
        assert near(found["ready"]) == [7]
        assert near(found["put_rate"]) == [2.5]
        assert near(found["age"]) == [40]
        assert found["ready"][-1] == 1, "what the page itself reads comes after it"
        overview = pages.json("/")
        assert near(overview["history"]["ready"]) == [12]
        assert overview["history_trouble"] == ""


def test_a_server_that_was_down_at_the_start_has_its_past_when_it_is_back(
    fleet: Fleet, graphite: Graphite, tmp_path: Path
) -> None:
    fleet.put("email.a")
    prefix = "latepast"
    fleet.config = fleet.config._replace(prefix=prefix)
    use(fleet, "graphite", url=graphite.url)
    at = time.time() - AGO
    graphite.send(f"{prefix}.queue.q1.email_a.ready", 7, at)
    graphite.send(f"{prefix}.queue.late.default.ready", 5, at)
    wait_until(lambda: graphite.values(f"{prefix}.*.*.*.*", since="-1h").count(5.0))
    with Beanstalkd(tmp_path / "late") as late:
        fleet.servers["late"] = ServerConfig(late.address)
        late.stop()
        with fleet.pages() as pages:
            assert near(history_of(pages)["ready"]) == [7]
            late.restart()
            pages.read()
            found = pages.json("/queue", server="late", name="default")["history"]
            assert near(found["ready"]) == [5]
            assert near(history_of(pages)["ready"]) == [7]


def test_prometheus_fills_the_hour_before_the_start(fleet: Fleet, tmp_path: Path) -> None:
    fleet.put("email.a")
    now = time.time()
    times = [now - AGO - 30 * number for number in range(9, -1, -1)]
    labels = 'system="beanstalkd",server="q1",queue="email.a"'
    text = "# TYPE beanwatch_queue_jobs gauge\n"
    text += "".join(
        f'beanwatch_queue_jobs{{{labels},state="{state}"}} {value} {at:.3f}\n'
        for state, value in (("ready", 7), ("buried", 9))
        for at in times
    )
    text += "# TYPE beanwatch_queue_puts counter\n"
    text += "".join(
        f"beanwatch_queue_puts_total{{{labels}}} {75 * number} {at:.3f}\n"
        for number, at in enumerate(times)
    )
    (tmp_path / "past.txt").write_text(text + "# EOF\n")
    server = Prometheus(tmp_path / "prometheus", {"scrape_configs": []})
    subprocess.run(
        [
            *("promtool", "tsdb", "create-blocks-from", "openmetrics"),
            *(tmp_path / "past.txt", server.directory / "data"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with server:
        use(fleet, server.url)
        with fleet.pages() as pages:
            found = history_of(pages)
            assert set(near(found["ready"])) == {7}
            assert near(found["put_rate"])[0] == pytest.approx(2.5)
            assert found["ready"][-1] == 1


def test_a_source_that_is_down_is_told_and_the_page_has_what_it_reads(fleet: Fleet) -> None:
    fleet.put("email.a")
    use(fleet, f"http://127.0.0.1:{closed_port()}")
    with fleet.pages() as pages:
        assert {one for one in history_of(pages)["ready"] if one is not None} == {1}
        trouble = pages.json("/")["history_trouble"]
        assert trouble.startswith("the last hour cannot be read from Prometheus: 127.0.0.1:")
        assert "The charts begin at the start of this page" in pages.html("/")


def test_another_source_is_refused() -> None:
    assert parse('[web]\nhistory = "graphite"').web.history == "graphite"
    with pytest.raises(ConfigError, match="URL of a Prometheus"):
        parse('[web]\nhistory = "influx"')
    with pytest.raises(ConfigError) as refused:
        parse('[web]\nhistory = "viewer:secret@prometheus:9090"')
    assert "secret" not in str(refused.value)


def test_past_values_do_not_replace_those_that_were_read() -> None:
    history = History()
    now = 1e9
    slot = int(now // STEP)
    history.add("q", now, ready=3.0)
    history.fill("q", "ready", {slot: 9.0, slot - 1: 8.0, slot - POINTS: 7.0})
    history.fill("q", "put_rate", {slot - 1: 2.0})
    history.fill("unknown", "ready", {slot: 1.0})
    assert history.points("q", "ready", now)[-2:] == [8.0, 3.0]
    history.fill("q", "age", {slot - 1: math.inf, slot: 5.0})
    assert history.points("q", "age", now)[-2:] == [None, 5.0], "JSON has no infinity"
    history.add("q", now, put_rate=4.0)
    assert history.points("q", "put_rate", now)[-2:] == [2.0, 4.0]
    assert history.points("unknown", "ready", now) == []
    assert all(one is None or math.isfinite(one) for one in history.points("q", "ready", now))
