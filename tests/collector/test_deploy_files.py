"""What is shipped beside the code, judged by the programs that it is for."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from beanwatch.collectors.deliver.carbon import Carbon, parse_graphite
from beanwatch.collectors.poll.derive import ABSENT, derive_server
from beanwatch.queues.beanstalkd.stats import parse_stats
from beanwatch.telemetry import series as paths
from tests.queues.formats import SERVERS
from tests.real import ROOT, Graphite, wait_until

COLLECTORS = ROOT / "collectors"
UNITS = sorted((COLLECTORS / "systemd").iterdir())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units():
    argv = ["systemd-analyze", "verify", "--man=no", *map(str, UNITS)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "beanwatch" in line]
    assert (done.returncode, complaints) == (0, [])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"])
def test_the_services_can_do_little_harm(unit: Path):
    argv = ["systemd-analyze", "security", "--offline=yes", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    level = re.search(r"exposure level for \S+: (\d+\.\d+)", done.stdout)
    if level is None:
        pytest.skip("this systemd-analyze judges no files")
    assert float(level[1]) < 2.5, done.stdout


def test_cron_runs_the_command_every_minute():
    lines = (COLLECTORS / "cron" / "beanwatch-collect").read_text().splitlines()
    (job,) = [line for line in lines if line and line[0] not in "#MP"]
    assert job.startswith("* * * * * root beanwatch collect --once ")
    assert "%" not in job, "cron makes line ends of these"


def series() -> dict[str, str]:
    """Every kind of path, and how it is to be thinned out."""
    prefix = paths.PREFIX
    server = derive_server(parse_stats(SERVERS["1.13+"]), 0, 0, 0)
    found = [paths.server(prefix, "q1", stat) for stat in server]
    found += [paths.queue(prefix, "q1", "t", stat) for stat in ABSENT]
    found += [paths.collector(prefix, "q1", stat) for stat in paths.COLLECTOR]
    stats = (*paths.WORKER_OWN, *paths.WORKER_SEEN)
    found += [paths.worker(prefix, "web1.w1", stat) for stat in stats]
    found += [paths.workers(prefix, stat) for stat in paths.WORKERS]
    stem = paths.job(prefix, "t", "email.send", "web1.w1")
    found += [
        f"{stem}.{outcome}.{kind}" for outcome in paths.OUTCOMES for kind in ("count", "rate")
    ]
    found += [f"{stem}.{timer}.{stat}" for timer in paths.TIMERS for stat in paths.TIMER_STATS]
    return {path: method_of(path) for path in found}


def method_of(path: str) -> str:
    """Depths and ages by their peak, counts added up, totals as they were last."""
    stat = path.rpartition(".")[2]
    if stat in ("up", "success"):
        return "min"
    if path.startswith("beanwatch.job."):
        return {"count": "sum", "mean": "average", "rate": "average"}.get(stat, "max")
    if stat.endswith("_rate"):
        return "average"
    totals = ("cmd_", "total_", "rusage_", "binlog_records_", "dropped")
    if stat.startswith(totals) or stat in (
        *("job_timeouts", "uptime", "restarts", "rejected_puts", "reconnects", "touches"),
        "missed_ticks",
    ):
        return "last"
    return "max"


def test_each_series_is_thinned_out_as_its_kind_demands():
    rules = ConfigParser(interpolation=None)
    rules.read(COLLECTORS / "graphite" / "storage-aggregation.conf")
    for path, wanted in series().items():
        rule = next(
            rules[name] for name in rules.sections() if re.search(rules[name]["pattern"], path)
        )
        assert rule["aggregationMethod"] == wanted, path
        assert rule["xFilesFactor"] == "0"


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[Graphite]:
    with Graphite(
        tmp_path,
        storage_schemas=COLLECTORS / "graphite" / "storage-schemas.conf",
        storage_aggregation=COLLECTORS / "graphite" / "storage-aggregation.conf",
    ) as graphite:
        yield graphite


def test_a_real_carbon_obeys_the_shipped_rules(shipped: Graphite):
    carbon = Carbon(parse_graphite(shipped.carbon))
    now = time.time()
    chosen = {
        "beanwatch.server.q1.up": ("min", "10s:2d"),
        "beanwatch.queue.q1.t.current_jobs_ready": ("max", "10s:2d"),
        "beanwatch.queue.q1.t.cmd_delete": ("last", "10s:2d"),
        "beanwatch.job.t.email_send.web1.w1.ok.count": ("sum", "10s:1d"),
    }
    for path in chosen:
        carbon.send(path, 1, now)
    carbon.close()
    whisper = shipped.directory / "storage" / "whisper"
    for path, (method, first) in chosen.items():
        file = whisper / f"{path.replace('.', '/')}.wsp"
        info = wait_until(lambda file=file: file.exists() and whisper_info(file))
        assert f"aggregationMethod: {method}" in info
        step, _, days = first.partition("s:")
        points = int(days.rstrip("d")) * 86400 // int(step)
        assert f"secondsPerPoint: {step}" in info
        assert f"points: {points}" in info


def whisper_info(file: Path) -> str:
    tool = ROOT / ".graphite" / "bin" / "whisper-info.py"
    done = subprocess.run([tool, str(file)], capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else ""
