"""A real Icinga 2, as a foreground process with all its files in one directory."""

import getpass
import grp
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.real.process import SYSTEM_PATH, Server, StartupError

_CONFIG = """
include <itl>
include <plugins>
const PluginDir = "{plugins}"
object CheckerComponent "checker" {{ }}
object NotificationComponent "notification" {{ }}
object ExternalCommandListener "command" {{ command_path = "{directory}/icinga2.cmd" }}
object LivestatusListener "live" {{
  socket_type = "unix"
  socket_path = "{directory}/live"
}}
object Endpoint NodeName {{ }}
object Zone ZoneName {{ endpoints = [ NodeName ] }}
object FileLogger "log" {{
  path = "{directory}/icinga2.log"
  severity = "information"
}}
include "{objects}/*.conf"
"""


class Icinga(Server):
    """An Icinga 2 that loads copies of the files in `objects` and `plugins`.

    `edits` are replacements of text, by the name of a file in `objects`; a text that is not there
    raises StartupError. The copies are in a directory that Icinga's user can enter.
    """

    name = "icinga2"

    def __init__(
        self,
        directory: Path,
        objects: Path,
        plugins: Path,
        *,
        edits: Mapping[str, Mapping[str, str]],
    ) -> None:
        super().__init__(directory)
        self.home = Path(tempfile.mkdtemp(prefix="icinga2-"))
        self.commands = self.home / "icinga2.cmd"
        shutil.copytree(objects, self.home / "objects")
        shutil.copytree(plugins, self.home / "plugins", symlinks=True)
        for name, changes in edits.items():
            edit(self.home / "objects" / name, changes)
        self._config = self.home / "test.conf"
        self._config.write_text(
            _CONFIG.format(
                plugins=self.home / "plugins",
                objects=self.home / "objects",
                directory=self.home,
            )
        )
        self._defines = ["-DNodeName=localhost", "-DZoneName=localhost"]
        self._defines += [f"-DRunAsUser={getpass.getuser()}"]
        self._defines += [f"-DRunAsGroup={grp.getgrgid(os.getgid()).gr_name}"]
        for name in ("DataDir", "InitRunDir", "LogDir", "CacheDir", "SpoolDir"):
            (self.home / name).mkdir()
            self._defines.append(f"-D{name}={self.home / name}")

    def choose_ports(self) -> None:
        self.port = -1  # it listens on no network port

    def argv(self) -> list[str | Path]:
        return ["icinga2", "daemon", "-c", self._config, *self._defines]

    def verify(self) -> str:
        """Return the output of `icinga2 daemon -C`. Raises StartupError if it found errors."""
        result = subprocess.run(
            ["icinga2", "daemon", "-C", "-c", self._config, *self._defines],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PATH": SYSTEM_PATH},
        )
        if result.returncode:
            raise StartupError(
                f"`icinga2 daemon -C` found errors in {self._config}:\n"
                f"{result.stdout}{result.stderr}"
            )
        return result.stdout

    def states(self) -> dict[str, int]:
        """Return the state of each service that was checked, by its name."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(self.home / "live"))
            link.sendall(
                b"GET services\nColumns: description state\nFilter: has_been_checked = 1\n\n"
            )
            link.shutdown(socket.SHUT_WR)
            lines = link.makefile().read().splitlines()
        pairs = (line.rsplit(";", 1) for line in lines)
        return {name: int(state) for name, state in pairs}

    def ready(self) -> bool:
        log = self.home / "icinga2.log"
        return log.exists() and "Activated all objects" in log.read_text()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self.home, ignore_errors=True)


def edit(path: Path, changes: Mapping[str, str]) -> None:
    """Replace texts in a file. Raises StartupError if one of them is not there."""
    text = path.read_text()
    for old, new in changes.items():
        if old not in text:
            raise StartupError(f"cannot edit {path}: it does not contain {old!r}")
        text = text.replace(old, new)
    path.write_text(text)
