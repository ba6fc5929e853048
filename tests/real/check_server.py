"""Checks as Nagios and Icinga run them every second, but without the start of a Python for each."""

from collections.abc import Sequence
from pathlib import Path

from beanwatch.checks.registry import CHECKS
from tests.real.process import ROOT, Server

# A shell, as it starts fast. The last line of the reply is the exit code.
_PLUGIN = """\
#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{port} || exit 3
printf '%s\\0' {name} "$@" $'\\x04' >&3
mapfile -t -u 3 lines
last=$(( ${{#lines[@]}} - 1 ))
(( last < 0 )) && exit 3
(( last )) && printf '%s\\n' "${{lines[@]:0:last}}"
exit "${{lines[last]}}"
"""


class CheckServer(Server):
    """Runs checks in the environment that this process has when it is started."""

    name = "checks"

    def argv(self) -> Sequence[str | Path]:
        return [
            ROOT / ".venv/bin/python",
            Path(__file__).with_name("forked_checks.py"),
            str(self.port),
        ]

    def write_plugin(self, path: Path) -> None:
        """Replace the plugin at `path` by one that lets this server run the check of its name."""
        path.unlink(missing_ok=True)
        path.write_text(_PLUGIN.format(port=self.port, name=path.name.removeprefix("check_")))
        path.chmod(0o755)

    def write_plugins(self, directory: Path) -> None:
        """Replace all plugins of beanwatch in a directory."""
        for check in CHECKS:
            self.write_plugin(directory / check.program)
