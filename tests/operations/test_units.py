"""The unit files, as far as systemd judges them without running."""

import shutil
import subprocess
from pathlib import Path

import pytest

from beanwatch.config import WorkerConfig
from tests.real import ROOT

UNITS = sorted(
    path
    for folder in ("worker", "collectors", "checks", "src/beanwatch/web")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".service", ".timer")
)
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="no systemd-analyze here (Debian: systemd)"
)


def settings(unit: Path) -> dict[str, str]:
    """The last value of each setting."""
    lines = unit.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] not in "#[")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_no_objection(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_the_service_is_hardened(unit: Path) -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=40", unit]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-500:]


def test_a_worker_is_killed_only_after_it_released_its_job() -> None:
    (unit,) = (unit for unit in UNITS if unit.name == "beanwatch-worker@.service")
    supervisor = (ROOT / "worker" / "supervisor" / "beanwatch-workers.conf").read_text()
    limit = WorkerConfig().shutdown_timeout + 10
    assert float(settings(unit)["TimeoutStopSec"]) >= limit
    (wait,) = (line for line in supervisor.splitlines() if line.startswith("stopwaitsecs="))
    assert float(wait.partition("=")[2]) >= limit
