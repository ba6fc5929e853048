"""A whole Debian, booted by systemd in namespaces of its own, on a base that stays as it is.

Everything that is written goes into memory, and is gone when the machine is off. Its network is its
own, so that all servers have their usual ports.
"""

import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import greenstalk

from tests.real import ROOT, spawn, wait_until
from tests.real.process import SYSTEM_PATH, family_of

T = TypeVar("T")

BASE = ROOT / ".machine" / "base"
TOOLS = ("systemd-nspawn", "unshare", "nsenter")
CGROUPS = Path("/sys/fs/cgroup")
NSPAWN = "/run/systemd/nspawn"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# PID 1 of these namespaces is systemd-nspawn: with it, all that it started is killed. So a systemd
# of this host cannot give the machine a cgroup of its own, and without one, two machines would stop
# the units of each other. The generators make units for disks and init scripts, of which the
# machine needs none, and run at each daemon-reload. systemd-nspawn keeps directories in /run of the
# host; it is killed before it removes them, so they are in memory, too.
BOOT = """\
set -eu
for tree in {trees}; do mkdir -p "$tree"; echo 0 > "$tree/cgroup.procs"; done
mkdir -p {nspawn}
mount -t tmpfs tmpfs {nspawn}
mount -t tmpfs tmpfs {work}
mkdir {work}/up {work}/work {work}/root
mount -t overlay overlay -o lowerdir={base},upperdir={work}/up,workdir={work}/work {work}/root
echo queue1 > {work}/root/etc/hostname
rm -r {work}/root/usr/lib/systemd/system-generators
exec systemd-nspawn --quiet --boot --directory={work}/root --machine={name} --private-network \\
    --register=no --keep-unit --console=pipe --bind-ro={shared}:/srv/tests
"""
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)
RUNNING = ("running", "degraded")


def why_not() -> str:
    """Return why no machine can be booted here, or an empty text."""
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=SYSTEM_PATH)]
    if os.geteuid():
        return "only root can boot a machine"
    if missing:
        return f"no {', '.join(missing)} here (Debian: systemd-container)"
    if not (BASE.parent / ".installed").exists():
        return f"no {BASE.relative_to(ROOT)} here: make setup-test"
    if not all(os.access(tree, os.W_OK) for tree in find_hierarchies()):
        return "no cgroup can be made here"
    code = f"from {__name__} import raise_loopback; raise_loopback()"
    argv = ("unshare", "--mount", "--net", "--pid", "--fork", sys.executable, "-c", code)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=60)
    return "this host allows no namespaces with a network" if done.returncode else ""


def find_hierarchies() -> list[Path]:
    """Return the cgroup of this process in each hierarchy that systemd uses."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        if names == "name=systemd":
            found.append(CGROUPS / "systemd" / path[1:])
        elif number == "0":
            unified = CGROUPS / "unified"
            found.append((unified if unified.is_dir() else CGROUPS) / path[1:])
    return found


class Machine:
    """A context manager: the machine runs within it. `shared` is /srv/tests in the machine."""

    def __init__(self, directory: Path, shared: Path) -> None:
        self._work, self._shared = directory / "work", shared
        self._work.mkdir()
        self._log = directory / "console.log"
        self._name = f"beanwatch-{os.getpid()}"
        self._cgroups = [one / self._name for one in find_hierarchies()]

    def __enter__(self) -> Self:
        script = BOOT.format(
            trees=" ".join(map(str, self._cgroups)),
            nspawn=NSPAWN,
            work=self._work,
            base=BASE,
            name=self._name,
            shared=self._shared,
        )
        namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._process = spawn(["unshare", *namespaces, "sh", "-c", script], log=self._log)
        try:
            wait_until(self._has_ended_or_is_up, 120, "the machine has booted")
            assert self._process.poll() is None, "the machine has ended"
        except BaseException as error:
            self.__exit__()
            error.add_note(self._log.read_text(errors="replace"))
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()  # and by --kill-child the machine: nothing of it is kept
        self._process.wait()
        for cgroup in self._cgroups:
            wait_until(lambda cgroup=cgroup: remove_cgroup(cgroup), 20, "the cgroup is empty")

    def _has_ended_or_is_up(self) -> bool:
        if self._process.poll() is not None:
            return True
        # unshare, systemd-nspawn, its helper, and PID 1 of the machine
        self._init = next(
            pid for pid in family_of(self._process.pid) if read_name(pid) == "systemd"
        )
        self.inside(raise_loopback)
        return self.run("systemctl", "is-system-running", code=None).strip() in RUNNING

    def run(self, *argv: str, code: int | None = 0, stdin: str = "", timeout: float = 300.0) -> str:
        """Run a command as root in the machine, and return all that it printed.

        Raises AssertionError if it ends with another code than `code`; None: any code will do.
        """
        namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
        environment = ("env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb")
        done = subprocess.run(
            ["nsenter", f"--target={self._init}", *namespaces, *environment, *argv],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={**os.environ, "PATH": SYSTEM_PATH},
        )
        assert code in (None, done.returncode), f"{argv}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in a thread that is in the machine's network: its sockets are there."""

        def enter() -> T:
            with open(self.network) as namespace:
                error = ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0)
            assert not error, os.strerror(ctypes.get_errno())
            return function()

        with ThreadPoolExecutor(1) as thread:  # a new one, as it cannot go back
            return thread.submit(enter).result()

    @property
    def network(self) -> str:
        """Return the path of the machine's network, for nsenter."""
        return f"/proc/{self._init}/ns/net"

    def connect(self, port: int) -> socket.socket:
        """Connect to a server of the machine."""
        return self.inside(lambda: socket.create_connection(("127.0.0.1", port), 10))

    def put(self, queue: str, job: str, **data: Any) -> None:
        """Put a job into beanstalkd."""
        with greenstalk.Client(self.connect(11300), use=queue) as client:
            client.put(json.dumps({"job": job, "data": data}), ttr=60)

    def jobs(self, queue: str, state: str) -> int:
        """Count the jobs of a queue in one state."""
        with greenstalk.Client(self.connect(11300)) as client:
            try:
                return int(client.stats_tube(queue)[f"current-jobs-{state}"])
            except greenstalk.NotFoundError:
                return 0

    def shell(self, script: str, code: int | None = 0) -> str:
        """Run a script of sh in the machine."""
        return self.run("sh", "-ec", script, code=code)

    def write(self, path: str, text: str) -> None:
        """Write a file, and make its directory if there is none."""
        self.run("sh", "-ec", 'mkdir -p "$(dirname "$0")"; cat > "$0"', path, stdin=text)

    def systemctl(self, *argv: str, code: int | None = 0) -> str:
        """Run systemctl."""
        return self.run("systemctl", *argv, code=code)

    def journal(self, unit: str) -> str:
        """Return what a unit has logged."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit)

    def show(self, unit: str) -> dict[str, str]:
        """Return the properties of a unit."""
        lines = self.systemctl("show", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def wait_for(self, unit: str, timeout: float = 30.0, **wanted: str) -> dict[str, str]:
        """Wait until a unit has these properties, and return all."""

        names = ",".join(wanted)

        def is_so() -> bool:
            lines = self.systemctl("show", f"--property={names}", unit).splitlines()
            return set(lines) >= {f"{name}={value}" for name, value in wanted.items()}

        try:
            wait_until(is_so, timeout, f"{unit} has {wanted}")
        except AssertionError as error:
            error.add_note(self.systemctl("show", f"--property={names}", unit))
            error.add_note(self.journal(unit)[-3000:])
            raise
        return self.show(unit)


def raise_loopback() -> None:
    """Switch the loopback interface on: systemd does not in a container within a container."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))


def read_name(pid: int) -> str:
    """Return the name of a process."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def remove_cgroup(cgroup: Path) -> bool:
    """Remove a cgroup and those in it. Return False if a process is still in one."""
    try:
        for path, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(path)
    except OSError:
        return False
    return True


def build_wheel(directory: Path) -> Path:
    """Build the wheel of this tree."""
    python = ROOT / ".venv" / "bin" / "python"
    argv = (python, "-m", "hatchling", "build", "-t", "wheel", "-d", directory)
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = directory.glob("*.whl")
    return wheel
