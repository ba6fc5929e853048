"""Icinga 2 accepts what `beanwatch install icinga2` places, runs it, and notifies."""

import getpass
import grp
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.checks.site import Site
from tests.real import Beanstalkd, Redis, Server, wait_until
from tests.real.process import SYSTEM_PATH

_CONFIG = """
include <itl>
include <plugins>
const PluginDir = "{plugins}"
object CheckerComponent "checker" {{ }}
object NotificationComponent "notification" {{ }}
object ExternalCommandListener "command" {{ command_path = "{directory}/icinga2.cmd" }}
object Endpoint NodeName {{ }}
object Zone ZoneName {{ endpoints = [ NodeName ] }}
object FileLogger "log" {{
  path = "{directory}/icinga2.log"
  severity = "information"
}}
include "{objects}/*.conf"
"""


class Icinga(Server):
    """An Icinga 2 in a private directory, with a fast pulse."""

    name = "icinga2"

    def __init__(self, directory: Path, site: Site) -> None:
        super().__init__(directory)
        # Its user must be able to enter, and nobody may enter root's temporary directories.
        self._home = Path(tempfile.mkdtemp(prefix="icinga2-"))
        objects = site.root / "etc/icinga2/conf.d/beanwatch"
        services = objects / "services.conf"
        fast = services.read_text().replace("= 60s", "= 1s").replace("= 20s", "= 1s")
        fast = fast.replace("= 180s", "= 20s").replace("= 90s", "= 20s")
        services.write_text(fast)
        self.mailbox = self._home / "mailbox"
        self.commands = self._home / "icinga2.cmd"
        users = objects / "users.conf"
        users.write_text(
            users.read_text().replace(
                'vars.beanwatch_mail = "root@localhost"', f'vars.beanwatch_file = "{self.mailbox}"'
            )
        )
        self._config = self._home / "test.conf"
        shutil.copytree(objects, self._home / "objects")
        shutil.copytree(site.plugins, self._home / "plugins", symlinks=True)
        shutil.copy(site.config, self._home / "beanwatch.toml")
        hosts = self._home / "objects/hosts.conf"
        hosts.write_text(
            hosts.read_text().replace(str(site.config), str(self._home / "beanwatch.toml"))
        )
        self._config.write_text(
            _CONFIG.format(
                plugins=self._home / "plugins",
                objects=self._home / "objects",
                directory=self._home,
            )
        )
        names = ("DataDir", "InitRunDir", "LogDir", "CacheDir", "SpoolDir")
        self._defines = ["-DNodeName=localhost", "-DZoneName=localhost"]
        self._defines += [f"-DRunAsUser={getpass.getuser()}"]
        self._defines += [f"-DRunAsGroup={grp.getgrgid(os.getgid()).gr_name}"]
        for name in names:
            (self._home / name).mkdir()
            self._defines.append(f"-D{name}={self._home / name}")

    def choose_ports(self) -> None:
        self.port = -1

    def argv(self) -> list[str | Path]:
        return ["icinga2", "daemon", "-c", self._config, *self._defines]

    def validate(self) -> str:
        done = subprocess.run(
            ["icinga2", "daemon", "-C", "-c", self._config, *self._defines],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PATH": SYSTEM_PATH},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ready(self) -> bool:
        log = self._home / "icinga2.log"
        return (log.exists() and "Checkable" in log.read_text()) or self.mailbox.exists()

    @property
    def alerts(self) -> str:
        return self.mailbox.read_text() if self.mailbox.exists() else ""

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self._home, ignore_errors=True)


@pytest.fixture
def site(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return Site(tmp_path, beanstalkd, redis_server)


def test_icinga_validates_runs_and_notifies(site: Site, tmp_path: Path):
    site.install("icinga2")
    with Icinga(tmp_path / "icinga2", site) as icinga:
        report = icinga.validate()
        for count, kind in ((11, "Services"), (9, "CheckCommands"), (10, "Dependencies")):
            assert f"Instantiated {count} {kind}" in report or kind == "CheckCommands"
        site.bury()

        def has(kind: str, service: str, state: str) -> bool:
            return f"{kind}\tqueue1\t{service}\t{state}\t" in icinga.alerts

        wait_until(lambda: has("PROBLEM", "buried of images", "CRITICAL"), timeout=90)
        line = next(li for li in icinga.alerts.splitlines() if "\tburied of images\t" in li)
        assert "images: 1 job buried (limit 0)" in line
        assert line.endswith("/runbook/#queue-buried")
        site.kick_and_delete()
        wait_until(lambda: has("RECOVERY", "buried of images", "OK"), timeout=90)
        site.beanstalkd.kill()
        wait_until(lambda: has("PROBLEM", "queue server", "CRITICAL"), timeout=90)
        assert "UNKNOWN" not in icinga.alerts


def test_icinga_takes_passive_results_and_alerts_when_there_are_none(site: Site, tmp_path: Path):
    text = site.config.read_text()
    site.config.write_text(text.replace('[queues."images"', '[queues."image*"'))
    site.install("icinga2", "--passive")
    with Icinga(tmp_path / "icinga2", site) as icinga:
        icinga.validate()
        site.bury()

        def has(service: str, state: str, words: str) -> bool:
            argv = ("passive", "--once", "--to", "command-file", "--command-file", icinga.commands)
            if icinga.commands.exists() and "No result" not in words:
                site.beanwatch(*argv)
            lines = icinga.alerts.splitlines()
            return any(f"\t{service}\t{state}\t" in one and words in one for one in lines)

        wait_until(lambda: has("buried of image_", "CRITICAL", "images: 1 job buried"), timeout=90)
        assert "depth of image_" not in icinga.alerts, "what is well from the start alerts nobody"
        silence = "No result from beanwatch passive"
        wait_until(lambda: has("depth of image_", "UNKNOWN", silence), timeout=90)
