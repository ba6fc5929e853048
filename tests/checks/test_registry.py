"""One table lists the checks: everything that must know all of them takes them from there."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from beanwatch.checks.lib.services import plan_services
from beanwatch.checks.registry import CHECKS, QUEUE, find_check
from beanwatch.config.keys import CHECK_KEYS, MEASURES
from beanwatch.config.reader import parse
from beanwatch.queues import registry as systems
from beanwatch.queues.model import QUEUE_FIELDS
from beanwatch.queues.servers import resolve_servers
from tests.checks.fake_check import SOURCE
from tests.real import ROOT, Beanstalkd

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
LINE = '    RegisteredCheck("queue_delayed", QUEUE, "delayed", ("delayed",)),\n'
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_every_check_has_its_entry_point():
    points = {name: point for name, point in SCRIPTS.items() if name.startswith("check_")}
    assert points == {
        check.program: f"beanwatch.checks.lib.launch:{check.name}" for check in CHECKS
    }


def test_the_configuration_knows_every_check_and_every_measure():
    assert set(CHECK_KEYS) == {check.config_key for check in CHECKS}
    assert set(MEASURES) == {check.config_key for check in CHECKS if check.subject == QUEUE}


def test_every_check_is_a_module_that_says_what_it_asks():
    for check in CHECKS:
        parser = check.load().parser()
        assert parser.prog == check.program
        assert set(check.fields) <= set(QUEUE_FIELDS)


def test_an_unknown_check_is_refused():
    with pytest.raises(KeyError):
        find_check("queue_dept")


def test_a_check_of_a_field_that_the_system_does_not_declare_has_no_service(
    monkeypatch: pytest.MonkeyPatch,
):
    real = systems.find_system("beanstalkd")
    poor = real._replace(queue_fields=frozenset(("ready", "buried")))
    monkeypatch.setattr("beanwatch.queues.servers.find_system", lambda scheme, layout: poor)
    loaded = parse('[queues."images".depth]\nwarning = 1\n')
    services = plan_services(loaded, resolve_servers({"q": "127.0.0.1"}))
    assert [service.name for service in services if service.server] == [
        "queue server",
        "depth of images",
        "buried of images",
        "depth of other queues",
        "buried of other queues",
    ]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with two changes: the file of a check, and its line in the table."""
    root = tmp_path_factory.mktemp("tree")
    package = root / "beanwatch"
    ignore = shutil.ignore_patterns("__pycache__", "generator", "dashboards")
    shutil.copytree(ROOT / "src" / "beanwatch", package, ignore=ignore)
    (package / "checks" / "queue_delayed.py").write_text(SOURCE)
    table = package / "checks" / "registry.py"
    text = table.read_text()
    assert "CHECKS = (\n" in text
    table.write_text(text.replace("CHECKS = (\n", "CHECKS = (\n" + LINE))
    return root


@pytest.fixture
def run(tree: Path, tmp_path: Path) -> Run:
    """Runs an entry point of the copy: `run("beanwatch.cli:main", "passive", "--once")`."""

    def call(point: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        module, _, name = point.partition(":")
        code = f"import sys; from {module} import {name}; sys.exit({name}())"
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={
                **os.environ,
                "PYTHONPATH": str(tree),
                "BEANWATCH_STATE_DIR": str(tmp_path / "state"),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


def test_a_new_check_runs_by_an_entry_point_like_the_others(run: Run, beanstalkd: Beanstalkd):
    with beanstalkd.client(use="images") as client:
        client.put("x", delay=999)
    at = ("--server", beanstalkd.address, "-Q", "images")
    done = run("beanwatch.checks.lib.launch:queue_delayed", *at, "-w", "0")
    assert (done.returncode, done.stderr) == (1, "")
    line = "QUEUE_DELAYED WARNING - images: 1 job delayed (limit 0) | 'images'=1;0;;0"
    assert done.stdout.splitlines()[0] == line


def test_a_new_check_is_reported_by_passive(run: Run, beanstalkd: Beanstalkd):
    done = run("beanwatch.cli:main", "passive", "--once", "--server", beanstalkd.address)
    assert done.returncode == 0, done.stderr
    services = [line.split("\t")[1] for line in done.stdout.splitlines()]
    assert "delayed of all queues" in services


def test_a_new_check_is_installed_for_every_kind_of_monitoring(run: Run, tmp_path: Path):
    expected = {
        "nagios": (
            "command_name  check_queue_delayed\n",
            "name       beanwatch-queue-delayed\n",
            "runbook/#queue-delayed\n",
            "check_queue_delayed!*\n",
        ),
        "nrpe": (
            "command[beanwatch_queue_delayed]=/usr/lib/nagios/plugins/check_queue_delayed\n",
            "delayed_of_all_queues]=/usr/lib/nagios/plugins/check_queue_delayed",
        ),
        "icinga2": (
            'object CheckCommand "beanwatch_queue_delayed" {\n',
            'apply Service "delayed of " for (label => queue in host.vars.beanwatch_queues) {\n',
            'beanwatch_checks = [ "queue_server", "queue_delayed", ',
        ),
    }
    for kind, parts in expected.items():
        root = tmp_path / kind
        done = run("beanwatch.cli:main", "install", kind, "--family", "debian", "--dest", root)
        assert done.returncode == 0, done.stderr
        assert (root / "usr/lib/nagios/plugins/check_queue_delayed").is_symlink()
        files = [*(root / "etc").rglob("*.cfg"), *(root / "etc").rglob("*.conf")]
        text = "".join(file.read_text() for file in files)
        for part in parts:
            assert part in text, (kind, part)


def test_a_new_check_is_tried_by_the_doctor(run: Run, beanstalkd: Beanstalkd):
    done = run("beanwatch.cli:main", "doctor", "--server", beanstalkd.address, "--json")
    found = {finding["part"].split()[0] for finding in json.loads(done.stdout)["findings"]}
    assert {check.program for check in CHECKS} < found
    assert "check_queue_delayed" in found
