"""A real Nagios Core, as a foreground process with all its files in one directory."""

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.real.process import SYSTEM_PATH, Server, StartupError

Status = dict[str, str]

# Intervals count seconds, not minutes. Results are read every second. Checks are not spread over
# time, and no state is kept over a restart.
_NAGIOS_CFG = """\
log_file={root}/nagios.events
object_cache_file={root}/objects.cache
precached_object_file={root}/objects.precache
resource_file={root}/resource.cfg
status_file={root}/status.dat
temp_file={root}/nagios.tmp
temp_path={root}/tmp
check_result_path={root}/results
log_archive_path={root}/archive
lock_file={run}/nagios.pid
command_file={run}/commands
query_socket={run}/query
nagios_user={user}
nagios_group={group}
interval_length=1
status_update_interval=1
check_result_reaper_frequency=1
service_inter_check_delay_method=n
host_inter_check_delay_method=n
max_service_check_spread=1
max_host_check_spread=1
service_interleave_factor=1
check_external_commands=1
check_for_updates=0
enable_notifications=1
enable_environment_macros=0
retain_state_information=0
use_syslog=0
log_rotation_method=n
date_format=iso8601
illegal_macro_output_chars=`~$&|'"<>
"""


class Nagios(Server):
    """A Nagios that loads these object files or directories.

    `macros` sets the macros $USER1$ to $USER256$. `settings` is text to append to nagios.cfg.
    """

    name = "nagios"

    def __init__(
        self,
        directory: Path,
        objects: Iterable[Path],
        *,
        macros: Mapping[str, str] | None = None,
        settings: str = "",
    ) -> None:
        super().__init__(directory)
        # The path of a socket may have at most 108 bytes, and a test's directory may be longer.
        self._run = Path(tempfile.mkdtemp(prefix="nagios-"))
        for name in ("tmp", "results", "archive"):
            (self.directory / name).mkdir(exist_ok=True)
        config = _NAGIOS_CFG.format(
            root=self.directory,
            run=self._run,
            user=pwd.getpwuid(os.getuid()).pw_name,
            group=grp.getgrgid(os.getgid()).gr_name,
        )
        for path in objects:
            config += f"{'cfg_dir' if path.is_dir() else 'cfg_file'}={path}\n"
        self.config = self.directory / "nagios.cfg"
        self.config.write_text(config + settings)
        users = {"USER1": "/usr/lib/nagios/plugins", **(macros or {})}
        resource = self.directory / "resource.cfg"
        resource.write_text("".join(f"${name}$={value}\n" for name, value in users.items()))

    @property
    def events(self) -> str:
        """The log of Nagios: states, notifications, errors."""
        path = self.directory / "nagios.events"
        return path.read_text(errors="replace") if path.exists() else ""

    def verify(self) -> str:
        """Return the output of `nagios4 -v`. Raises StartupError if it has errors or warnings."""
        result = subprocess.run(
            ["nagios4", "-v", self.config],
            env={**os.environ, "PATH": SYSTEM_PATH},
            capture_output=True,
            text=True,
            timeout=60,
        )
        report = result.stdout + result.stderr
        if result.returncode or "Total Warnings: 0" not in report:
            raise StartupError(f"`nagios4 -v` found errors or warnings in {self.config}:\n{report}")
        return report

    def choose_ports(self) -> None:
        self.port = -1  # it listens on no network port

    def argv(self) -> list[str | Path]:
        return ["nagios4", self.config]

    def ready(self) -> bool:
        # This raises OSError until Nagios has created the pipe and opened it for reading.
        os.close(os.open(self._run / "commands", os.O_WRONLY | os.O_NONBLOCK))
        return bool(self.statuses())

    def command(self, text: str) -> None:
        """Send an external command, such as `PROCESS_SERVICE_CHECK_RESULT;host;service;2;text`."""
        pipe = os.open(self._run / "commands", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, f"[{time.time():.0f}] {text}\n".encode())
        finally:
            os.close(pipe)

    def statuses(self) -> dict[tuple[str, str], Status]:
        """Return the status of each host and service, by (host, service), from status.dat.

        A host itself has an empty service. Nagios writes the file every second.
        """
        path = self.directory / "status.dat"
        return parse_status(path.read_text(errors="replace")) if path.exists() else {}

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self._run, ignore_errors=True)


def parse_status(text: str) -> dict[tuple[str, str], Status]:
    """Parse status.dat. Its blocks have a line `kind {`, lines `name=value`, and a line `}`."""
    statuses: dict[tuple[str, str], Status] = {}
    kind = ""
    entry: Status = {}
    for line in text.splitlines():
        line = line.strip()
        if line.endswith("{"):
            kind, entry = line[:-1].strip(), {}
        elif line == "}":
            if kind in ("hoststatus", "servicestatus"):
                statuses[entry["host_name"], entry.get("service_description", "")] = entry
        else:
            name, _, value = line.partition("=")
            entry[name] = value
    return statuses
