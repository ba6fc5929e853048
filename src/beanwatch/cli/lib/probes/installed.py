"""Test what `beanwatch install` has installed: units of systemd, dashboards, files for PHP."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from beanwatch.cli.lib.install_kinds import KINDS, read_package_files
from beanwatch.cli.lib.probes.finding import PROBE_TIMEOUT, Finding

SYSTEMD = Path("/run/systemd/system")  # it is there if systemd runs
LIST_UNITS = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager"]
MAX_NAMED = 8  # units
# What the monitor of a PHP worker needs, as JSON.
PHP_CODE = """echo json_encode(['version' => PHP_VERSION,
    'is_new' => PHP_VERSION_ID >= 80200, 'pcntl' => extension_loaded('pcntl'),
    'redis' => extension_loaded('redis') || is_file('/usr/share/php/Predis/autoload.php')]);"""


def probe_units(systemd: Path = SYSTEMD) -> Iterator[Finding]:
    """Test the units of beanwatch that systemd knows, if it runs on this host."""
    if not systemd.is_dir() or not shutil.which("systemctl"):
        return
    try:
        done = subprocess.run(
            [*LIST_UNITS, "beanwatch-*"], capture_output=True, text=True, timeout=PROBE_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("units", "unused", f"systemctl does not tell them: {error}")
        return
    if done.returncode:
        yield Finding("units", "unused", f"systemctl does not tell them: {done.stderr.strip()}")
        return
    yield from judge_units(done.stdout)


def judge_units(text: str) -> Iterator[Finding]:
    """Judge the output of `systemctl list-units`: unit, load, active, sub and description."""
    rows = [fields for line in text.splitlines() if len(fields := line.split(None, 4)) >= 4]
    failed = [unit for unit, _, active, *_ in rows if active == "failed"]
    again = [unit for unit, _, _, sub, *_ in rows if sub == "auto-restart"]
    active = [unit for unit, _, active, *_ in rows if active == "active"]
    for unit in failed:
        yield Finding("units", "failed", f"{unit} has failed", f"journalctl -u {unit}")
    for unit in again:  # a worker that is recycled is one of them
        text = f"{unit} has ended, and systemd is about to start it again: does it end each time?"
        yield Finding("units", "warning", text, f"journalctl -u {unit}")
    if active:
        more = f" and {len(active) - MAX_NAMED} more" if len(active) > MAX_NAMED else ""
        yield Finding("units", "ok", f"active: {', '.join(active[:MAX_NAMED])}{more}")
    elif not failed and not again:
        cure = "if systemd is to run parts of beanwatch here: beanwatch install systemd"
        yield Finding("units", "unused", "no unit of beanwatch is active", cure)


def probe_files(part: str, program: Path, directory: Path, glob: str, cure: str) -> list[Finding]:
    """Tell whether our files are in a directory of a program, if this host has the program."""
    if not program.is_dir():
        return []
    if names := ", ".join(sorted(path.name for path in directory.glob(glob))):
        return [Finding(part, "ok", f"{directory} has {names}")]
    return [Finding(part, "unused", f"{directory} has no file of beanwatch", cure)]


def probe_php(directory: Path) -> Iterator[Finding]:
    """Test the files for PHP workers, and what they need of PHP, if they are installed."""
    if not (directory / "beanwatch.php").is_file():
        return
    cure = "beanwatch install php"
    old = list(_find_old_files(directory))
    if old:
        text = f"not of this version, in {directory}: {', '.join(old[:3])}"
        yield Finding("php files", "warning", text, cure)
    else:
        yield Finding("php files", "ok", f"{directory} has those of this version")
    try:
        done = subprocess.run(
            ["php", "-r", PHP_CODE], capture_output=True, text=True, timeout=PROBE_TIMEOUT
        )
        found = json.loads(done.stdout)
    except FileNotFoundError:
        yield Finding("php", "unused", "there is no php here", "apt-get install php-cli php-redis")
        return
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        yield Finding("php", "failed", f"php cannot be asked: {error}", "run php -v by hand")
        return
    needs = {"is_new": "PHP 8.2", "pcntl": "ext-pcntl", "redis": "ext-redis or Predis"}
    if missing := [words for key, words in needs.items() if not found.get(key)]:
        text = f"PHP {found.get('version')} is here; a worker needs {', '.join(missing)}"
        yield Finding("php", "warning", text, "apt-get install php-cli php-redis")
    else:
        yield Finding("php", "ok", f"PHP {found.get('version')} has what a worker needs")


def _find_old_files(directory: Path) -> Iterator[str]:
    """Yield the names of installed files that differ from those in this package."""
    folders = {"php": "", "php_src": "src", "php_pheanstalk": "pheanstalk"}
    for pattern, kind in KINDS["php"].shipped:
        for name, content in read_package_files(pattern):
            path = directory / folders[kind] / name
            if not path.is_file() or path.read_bytes() != content:
                yield name
