"""The wheel, built from the sdist, installs anywhere and brings every command."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from beanwatch import __version__
from tests.real import ROOT

BIN = ROOT / ".venv" / "bin"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = sorted(PROJECT["scripts"])
SUPPORTED = ("3.11", "3.12", "3.13")


def call(*argv: str | Path, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def interpreters() -> list[str]:
    """One interpreter for each supported version that this host has, on PATH or through pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = []
    for version in SUPPORTED:
        on_path = [path] if (path := shutil.which(f"python{version}")) else []
        managed = sorted(map(str, pyenv.glob(f"{version}.*/bin/python{version}")))
        found += [python for python in on_path + managed if is_version(python, version)][:1]
    return found or [sys.executable]


def is_version(python: str, version: str) -> bool:
    """A pyenv shim is there for every version and works for one."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() == version


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of this tree, unpacked elsewhere, and the wheel that it gives; or a made one."""
    if made := os.environ.get("BEANWATCH_DIST"):
        (found,) = Path(made).glob("*.whl")
        return found
    work = tmp_path_factory.mktemp("dist")
    build = (BIN / "python", "-m", "hatchling", "build", "-d", work, "-t")
    call(*build, "sdist", cwd=ROOT)
    (sdist,) = work.glob("*.tar.gz")
    call("tar", "xzf", sdist, cwd=work)
    (unpacked,) = (path for path in work.iterdir() if path.is_dir())
    call(*build, "wheel", cwd=unpacked)
    (built,) = work.glob("*.whl")
    return built


@pytest.mark.parametrize("python", interpreters())
def test_the_wheel_in_a_new_environment_has_every_command(
    wheel: Path, python: str, tmp_path: Path
) -> None:
    call(BIN / "uv", "venv", "--quiet", "--python", python, "fresh", cwd=tmp_path)
    fresh = tmp_path / "fresh" / "bin"
    call(BIN / "uv", "pip", "install", "--quiet", "--python", fresh / "python", wheel, cwd=tmp_path)
    for command in COMMANDS:
        # By the plugin guidelines a plugin that only printed its help has checked nothing: UNKNOWN.
        code = 3 if command.startswith("check_") else 0
        assert "usage" in call(fresh / command, "--help", cwd=tmp_path, code=code).lower()
    assert "## queue-depth" in call(fresh / "beanwatch", "runbook", "queue-depth", cwd=tmp_path)
    version = call(fresh / "beanwatch", "--version", cwd=tmp_path)
    assert version.strip().endswith(
        call(
            fresh / "python",
            "-c",
            "from importlib.metadata import version; print(version('beanwatch'))",
            cwd=tmp_path,
        ).strip()
    )


OPTIONAL = ("beanwatch.web.", "beanwatch.worker.adapters.")
IMPORT_ALL = """
import importlib, pkgutil, sys, beanwatch
for found in pkgutil.walk_packages(beanwatch.__path__, "beanwatch."):
    if not found.name.endswith("__main__") and not found.name.startswith(tuple(sys.argv[1:])):
        importlib.import_module(found.name)
        print(found.name)
"""


def test_every_module_in_the_wheel_imports_with_the_wheels_own_dependencies(
    wheel: Path, tmp_path: Path
) -> None:
    call(BIN / "uv", "venv", "--quiet", "fresh", cwd=tmp_path)
    python = tmp_path / "fresh" / "bin" / "python"
    call(BIN / "uv", "pip", "install", "--quiet", "--python", python, wheel, cwd=tmp_path)
    # The live page is an extra: only `beanwatch web` imports it. An adapter imports its framework.
    imported = call(python, "-c", IMPORT_ALL, *OPTIONAL, cwd=tmp_path).split()
    assert len(imported) > 100
    assert not any("generator" in name for name in imported)
    web = subprocess.run(
        [python.with_name("beanwatch"), "web"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (web.returncode, "pip install 'beanwatch[web]'" in web.stderr) == (2, True)
    extra = f"beanwatch[web] @ file://{wheel}"
    call(BIN / "uv", "pip", "install", "--quiet", "--python", python, extra, cwd=tmp_path)
    assert "beanwatch.web.app" in call(python, "-c", IMPORT_ALL, OPTIONAL[1], cwd=tmp_path)


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"beanwatch"}
    assert "beanwatch/py.typed" in names


def test_the_description_of_the_release_has_links_that_work_without_the_repository(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    assert metadata["Version"] == __version__
    assert metadata["Summary"] == PROJECT["description"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    described = str(metadata.get_payload())
    (site,) = re.findall(r'site_url = "(.+)"', (ROOT / "docs" / "zensical.toml").read_text())
    targets = re.findall(r"\]\(([^)]+)\)", described)
    assert all(target.startswith("https://") for target in targets), targets
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", described)
    assert len(pictures) >= 2
    for target in targets:
        if target.startswith(site):
            path, _, _ = target.removeprefix(site).partition("#")
            page = ROOT / "docs" / (path if target in pictures else path.rstrip("/") + ".md")
            assert page.is_file(), target


def test_every_python_that_is_named_was_tried() -> None:
    named = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if ":: 3." in one]
    assert tuple(named) == SUPPORTED


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[(\S+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0][0] == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", versions[0][1])
