"""StatsD and Graphite: whichever way a worker's metrics go, the same series arrive."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from beanwatch import outcomes
from beanwatch.telemetry import series as paths
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.metrics import Metrics, SeriesOwner, make_metrics
from tests.real import ROOT, Graphite, StatsD, wait_until
from tests.worker_telemetry.conftest import RecordingLog

SHIPPED = ROOT / "worker" / "statsd" / "beanwatch.js"

EXPECTED = {
    f".job.q1.email_regular.email_send.web1_mail-1.{end}"
    for end in (
        "ok.count",
        "ok.rate",
        *(f"{timer.name}.{stat}" for timer in paths.TIMERS for stat in paths.TIMER_STATS),
    )
}


def feed(metrics: Metrics, make_run: Callable[..., Run]) -> None:
    numbers = itertools.count(1)
    for duration in (0.010, 0.020, 0.030, 0.040, 0.500, 0.060, 0.070):
        metrics.on_finished(make_run(duration=duration, wait=duration / 2, job_id=next(numbers)))
    for outcome in outcomes.NAMES:
        metrics.on_finished(make_run(job="report build/é", outcome=outcome, attempt=2))
    metrics.gauge("busy", 0.5)
    metrics.gauge("rss", 12_345_678)
    metrics.count("touches", 3)
    metrics.count("reconnects")


def read(graphite: Graphite, prefix: str) -> dict[str, float]:
    """The largest value of every series below the prefix, under its name without it."""
    found: dict[str, float] = {}
    for depth in range(1, 10):
        for series in graphite.render(f"{prefix}{'.*' * depth}"):
            values = [value for value, _ in series["datapoints"] if value is not None]
            if values:
                found[series["target"].removeprefix(prefix)] = max(values)
    return found


def test_both_ways_bring_the_same_series_with_the_same_values(
    graphite: Graphite,
    prefix: str,
    tmp_path: Path,
    make_run: Callable[..., Run],
    log: RecordingLog,
):
    quick = tmp_path / "statsd.js"
    quick.write_text(SHIPPED.read_text().replace("flushInterval: 10000", "flushInterval: 1000"))
    with StatsD(tmp_path / "statsd", graphite.carbon, quick) as statsd:
        for attempt in range(5):
            by_statsd, directly = f"{prefix}s{attempt}", f"{prefix}g{attempt}"
            urls = {by_statsd: statsd.url, directly: f"graphite://{graphite.carbon}"}
            for name, url in urls.items():
                owner = SeriesOwner(name, "q1", "web1.mail-1")
                metrics = make_metrics(
                    url, owner, per_worker=True, interval=1.0, log=log.as_logger()
                )
                past_its_first_interval(metrics, graphite, name)
                feed(metrics, make_run)
                metrics.tick()
                metrics.close(10.0)
                assert metrics.dropped == 0
            wait_until(lambda p=by_statsd: read(graphite, p).keys() >= EXPECTED, 30)
            wait_until(lambda p=directly: read(graphite, p).keys() >= EXPECTED, 30)
            wait_until(lambda a=by_statsd, b=directly: same_names(graphite, a, b), 30)
            # Values differ when StatsD's flush fell between two of the datagrams: once more.
            found = read(graphite, directly)
            if read(graphite, by_statsd) == pytest.approx(found, rel=1e-4):
                break
        else:
            pytest.fail("never the same values in five attempts")
    assert found[".job.q1.email_regular.email_send.web1_mail-1.ok.count"] == 7
    assert found[".job.q1.email_regular.email_send.web1_mail-1.duration.upper_50"] == 40
    assert found[".worker.web1.mail-1.touches"] == 3
    assert log.lines == []


def past_its_first_interval(metrics: Metrics, graphite: Graphite, prefix: str) -> None:
    """Which is longer than StatsD's, so its rates are others."""
    metrics.gauge("busy", 0)
    wait_until(lambda: metrics.tick() or ".worker.web1.mail-1.busy" in read(graphite, prefix))
    metrics.tick()  # to look took a while, and the next interval begins here


def same_names(graphite: Graphite, one: str, other: str) -> bool:
    return read(graphite, one).keys() == read(graphite, other).keys()
