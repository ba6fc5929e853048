"""The files that are shipped beside the code, judged by the programs that read them."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from beanwatch import outcomes
from beanwatch.collectors.deliver.carbon import CarbonConnection, parse_graphite
from beanwatch.queues.beanstalkd.stats import ImplausibleValues, parse_stats, read_tube, to_server
from beanwatch.telemetry import series as paths
from tests.queues.formats import SERVERS, TUBES
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


# Not counters by the table, but to be thinned out as one: the last value is the true one.
TOTALS = ("uptime", "restarts", "job_timeouts", "rejected_puts", "binlog_records_written")
SHORT, MEDIUM, LONG = "10s:6h,1m:7d", "10s:6h,1m:14d", "10s:6h,1m:7d,10m:1y"
# Points of 12 bytes.
SHORT_POINTS, MEDIUM_POINTS, LONG_POINTS = (2160, 10080), (2160, 20160), (2160, 10080, 52560)


def measures() -> dict[str, paths.Series]:
    """The path of every series of the table."""
    prefix = paths.PREFIX
    found = {paths.server(prefix, "q1", one.name): one for one in paths.SERVER.series}
    found |= {paths.queue(prefix, "q1", "t", one.name): one for one in paths.QUEUE.series}
    found |= {paths.collector(prefix, "q1", one.name): one for one in paths.COLLECTOR.series}
    workers = (*paths.WORKER.series, *paths.WORKER_SEEN.series)
    found |= {paths.worker(prefix, "web1.w1", one.name): one for one in workers}
    found |= {paths.workers(prefix, one.name): one for one in paths.WORKERS.series}
    return found


def native() -> set[str]:
    """The path of every number of beanstalkd that is not in the table."""
    server = to_server(parse_stats(SERVERS["1.13+"]), ImplausibleValues())
    queue = read_tube("t", TUBES["1.13+"], server, ImplausibleValues())
    found = {paths.server(paths.PREFIX, "q1", name) for name in server.native}
    return found | {paths.queue(paths.PREFIX, "q1", "t", name) for name in queue.native}


def jobs() -> set[str]:
    """The path of every kind of series of a job."""
    stem = paths.job(paths.PREFIX, "q1", "t", "email.send", "web1.w1")
    counts = {
        f"{stem}.{outcome}.{kind}" for outcome in outcomes.NAMES for kind in ("count", "rate")
    }
    timers = {f"{stem}.{one.name}.{stat}" for one in paths.TIMERS for stat in paths.TIMER_STATS}
    return counts | timers


FEW_IS_BAD = ("consumers", "idle_consumers", "live", "disk_free")


def method_of(path: str) -> str:
    """Depths and ages by their peak, counts added up, totals as they were last."""
    measure = path.rpartition(".")[2]
    if measure in ("up", "success", "queues_success", *FEW_IS_BAD):
        return "min"
    if path.startswith("beanwatch.job."):
        return {"count": "sum", "mean": "average", "rate": "average"}.get(measure, "max")
    if measure.endswith("_rate"):
        return "average"
    is_counter = path in measures() and measures()[path].is_counter
    is_native_total = measure.startswith(("cmd_", "total_", "rusage_", "binlog_records_"))
    return "last" if is_counter or is_native_total or measure in TOTALS else "max"


def rule_of(file: str, path: str) -> dict[str, str]:
    """The first section of a file of carbon's whose pattern matches the path."""
    rules = ConfigParser(interpolation=None)
    rules.read(COLLECTORS / "graphite" / file)
    return next(
        dict(rules[name]) for name in rules.sections() if re.search(rules[name]["pattern"], path)
    )


def test_each_series_is_thinned_out_as_its_kind_demands():
    for path in (*measures(), *native(), *jobs()):
        rule = rule_of("storage-aggregation.conf", path)
        assert rule["aggregationmethod"] == method_of(path), path
        assert rule["xfilesfactor"] == "0"


def retention_of(path: str) -> str:
    """A year for what most panels show, two weeks for other measures, a week for native numbers."""
    _, group, *_, measure = path.split(".")
    stem = path.split(".")[-2]
    if path in native():
        return SHORT
    is_kept = {
        "server": measure not in ("problem", "draining"),
        "workers": measure != "success",
        "queue": measure in paths.ESSENTIAL,
        "job": (stem in outcomes.NAMES and measure == "count")
        or (stem, measure) == ("duration", "upper_95"),
    }
    return LONG if is_kept.get(group) else MEDIUM


def test_each_series_is_kept_as_long_as_it_is_worth():
    for path in (*measures(), *jobs(), *native()):
        assert rule_of("storage-schemas.conf", path)["retentions"] == retention_of(path), path


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[Graphite]:
    with Graphite(
        tmp_path,
        storage_schemas=COLLECTORS / "graphite" / "storage-schemas.conf",
        storage_aggregation=COLLECTORS / "graphite" / "storage-aggregation.conf",
    ) as graphite:
        yield graphite


def test_a_real_carbon_obeys_the_shipped_rules(shipped: Graphite):
    carbon = CarbonConnection(parse_graphite(shipped.carbon))
    now = time.time()
    chosen = {
        "beanwatch.server.q1.up": ("min", LONG_POINTS),
        "beanwatch.queue.q1.t.ready": ("max", LONG_POINTS),
        "beanwatch.queue.q1.t.deletes": ("last", MEDIUM_POINTS),
        "beanwatch.queue.q1.t.current_jobs_urgent": ("max", SHORT_POINTS),
        "beanwatch.server.q1.cmd_put": ("last", SHORT_POINTS),
        "beanwatch.job.q1.t.email_send.all.ok.count": ("sum", LONG_POINTS),
    }
    for path in chosen:
        carbon.send(f"{path} 1 {now:.0f}\n".encode())
    carbon.close()
    whisper = shipped.directory / "storage" / "whisper"
    for path, (method, points) in chosen.items():
        file = whisper / f"{path.replace('.', '/')}.wsp"
        info = wait_until(lambda file=file: file.exists() and whisper_info(file))
        assert f"aggregationMethod: {method}" in info
        assert tuple(map(int, re.findall(r"^points: (\d+)", info, re.M))) == points


def whisper_info(file: Path) -> str:
    tool = ROOT / ".graphite" / "bin" / "whisper-info.py"
    done = subprocess.run([tool, str(file)], capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else ""
