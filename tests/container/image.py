"""An image: a bare Debian root, and above it what the steps of a Containerfile write.

It is what `podman build` does with the same steps. The base stands for `python:3.13-slim`: a Debian
with nothing but a Python in /usr/local. Its Python is Debian's.
"""

import glob
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.real import ROOT
from tests.real.process import SYSTEM_PATH

FOLDER = ROOT / ".container"
BASE, WHEEL, IMAGE = FOLDER / "base", FOLDER / "wheel", FOLDER / "image"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOSTS = "127.0.0.1 localhost beanstalkd redis\n"  # Kubernetes has these names in its DNS
# The host's files that pip needs to reach the package index.
FOR_PIP = ("/etc/resolv.conf", "/etc/ssl", "/etc/pip.conf")
# A root of its own: the layers, /proc, /dev and an empty /tmp. {more} is for a build or a run.
ENTER = """\
set -eu
mount --make-rprivate /
mount -t overlay overlay -o lowerdir={base},upperdir={upper},workdir={work} {root}
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
{more}
exec chroot {root} {command}
"""


class Step(NamedTuple):
    """One line of a Containerfile: RUN and what it runs."""

    word: str
    rest: str


def parse(text: str) -> list[Step]:
    """Parse a Containerfile without continued lines."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [Step(*line.split(" ", 1)) for line in lines]


class Image:
    """What the steps made in `directory`: the layer, and how a container of it starts."""

    def __init__(self, directory: Path, steps: Sequence[Step]) -> None:
        self.upper, self.work, self.root = (directory / name for name in ("upper", "work", "root"))
        self._steps = steps
        settings = dict(steps)
        self.workdir, self.user = settings["WORKDIR"], settings["USER"]
        self.entrypoint: list[str] = json.loads(settings["ENTRYPOINT"])
        self.command: list[str] = json.loads(settings["CMD"])

    def build(self, context: Path) -> None:
        """Do the steps that write files; `context` has those to copy."""
        for path in (self.upper / "etc", self.work, self.root):
            path.mkdir(parents=True)
        (self.upper / "etc/hosts").write_text(HOSTS)
        for word, rest in self._steps:
            if word == "COPY":
                self._copy(context, *rest.split())
            elif word == "RUN":
                self._run(rest)
            elif word == "FROM":
                assert "/python:" in rest, rest
            else:
                assert word in ("WORKDIR", "USER", "ENTRYPOINT", "CMD"), word

    def _copy(self, context: Path, source: str, target: str) -> None:
        found = glob.glob(str(context / source))
        assert found, source
        directory = self.upper / target.strip("/")
        directory.mkdir(parents=True, exist_ok=True)
        for path in found:
            shutil.copy(path, directory)

    def _run(self, line: str) -> None:
        binds = [path for path in FOR_PIP if Path(path).exists()]
        binds += [path for path in os.environ.get("PIP_FIND_LINKS", "").split() if "/" in path]
        more = "".join(f"bind {path}\n" for path in binds if Path(path).exists())
        shell = f"/bin/sh -c {shlex.quote(line)}"
        kept = [f"{name}={os.environ[name]}" for name in os.environ if is_for_pip(name)]
        command = shlex.join(["/usr/bin/env", "-i", f"PATH={PATH}", "HOME=/root", *kept])
        done = subprocess.run(
            self.enter(f"{command} {shell}", f"{BIND.format(root=self.root)}{more}"),
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "PATH": SYSTEM_PATH},
        )
        assert done.returncode == 0, f"RUN {line}\n{done.stdout}{done.stderr}"

    def enter(self, command: str, more: str, *flags: str) -> list[str]:
        """Return the arguments that run a command in the root, after the lines `more`."""
        script = ENTER.format(
            base=BASE,
            upper=self.upper,
            work=self.work,
            root=self.root,
            more=more,
            command=command,
        )
        return ["unshare", "--mount", *flags, "sh", "-c", script]

    def start(self, spec: Mapping[str, object]) -> list[str]:
        """Return the program and its arguments for a container of the Deployment."""
        program = spec.get("command", self.entrypoint)
        arguments = spec.get("args", self.command)
        assert isinstance(program, list)
        assert isinstance(arguments, list)
        return [*map(str, program), *map(str, arguments)]


# Shows a file or a folder of the host in the root, at the same path, while a step runs.
BIND = """\
bind() {{
    if [ -d "$1" ]; then mkdir -p {root}"$1"; else touch {root}"$1"; fi
    mount --bind "$1" {root}"$1"
}}
"""


def is_for_pip(variable: str) -> bool:
    """Return True for an environment variable with which pip reaches the package index."""
    return variable.startswith("PIP_") or variable.lower().endswith("_proxy")
