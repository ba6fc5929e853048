"""`run_fake`: runs our programs with the systems of fake_system.py added to the registry."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.real import ROOT

SYSTEMS = {"fake": "SYSTEM", "full": "FULL", "dead": "DEAD"}
Run = Callable[..., subprocess.CompletedProcess[str]]
MakeServer = Callable[..., str]
CALL = """\
import sys
sys.argv[0] = sys.argv.pop(1)
from importlib.metadata import entry_points
(point,) = entry_points(group="console_scripts", name=sys.argv[0])
sys.exit(point.load()())
"""


@pytest.fixture(scope="session")
def fake_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the fake systems: their modules and lines in the registry."""
    root = tmp_path_factory.mktemp("tree")
    package = root / "beanwatch"
    ignore = shutil.ignore_patterns("__pycache__", "generator", "dashboards")
    shutil.copytree(ROOT / "src" / "beanwatch", package, ignore=ignore)
    queues = package / "queues"
    shutil.copy(Path(__file__).with_name("fake_system.py"), queues / "fake_system.py")
    lines = ""
    for scheme, name in SYSTEMS.items():
        line = f"from beanwatch.queues.fake_system import {name} as SYSTEM  # noqa: F401\n"
        (queues / f"fake_{scheme}.py").write_text(line)
        lines += f'    "{scheme}": "beanwatch.queues.fake_{scheme}",\n'
    registry = queues / "registry.py"
    text = registry.read_text()
    assert "MODULES = {\n" in text
    registry.write_text(text.replace("MODULES = {\n", f"MODULES = {{\n{lines}"))
    return root


@pytest.fixture
def run_fake(fake_tree: Path, tmp_path: Path) -> Run:
    """`run_fake("beanwatch", "queues", ...)` as a process of its own."""

    def call(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(fake_tree),
            "BEANWATCH_STATE_DIR": str(tmp_path / "state"),
        }
        done = subprocess.run(
            [sys.executable, "-c", CALL, program, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def make_server(tmp_path: Path) -> MakeServer:
    """`make_server("full", {"orders": {"ready": 3}})` writes a fake server, and returns its URL."""

    def make(scheme: str, queues: dict[str, dict[str, Any]], name: str = "server") -> str:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(queues))
        return f"{scheme}://localhost{path}"

    return make
