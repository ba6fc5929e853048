"""Servers as child processes, with their own directory and port. They die with this process."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.real.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_LISTENING = "0A"  # TCP state in /proc/net/tcp


class StartupError(Exception):
    """A server could not be started. The text has the end of its log, if there is one."""


# Each parallel test process has its own range of ports. So no other process takes the port of a
# server that a test has stopped and will start again.
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1
_PORTS = range(10_000 + _PROCESS % 11 * 2_000, 12_000 + _PROCESS % 11 * 2_000)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a free port, below the range that the kernel uses for outgoing connections."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def closed_port() -> int:
    """Return a port on which nothing listens. It stays bound while this process lives."""
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port: int = probe.getsockname()[1]
    probe.detach()
    return port


def ports_of(pid: int) -> set[int]:
    """Return the ports on which a process listens (TCP) or receives (UDP)."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = entry.readlink().name
        except OSError:  # it was closed meanwhile
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:[") : -1])
    ports = set()
    for table in ("tcp", "udp"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and (table == "udp" or fields[3] == _LISTENING):
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that writes to `log` and is killed when this process dies.

    It has a session of its own, so that Ctrl-C reaches only this process, which then stops the
    servers in order.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(arg) for arg in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, "PATH": SYSTEM_PATH, **(env or {})},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def stop_process(process: subprocess.Popen[bytes], timeout: float = 10.0) -> int:
    """Send SIGTERM, and after `timeout` seconds SIGKILL to it and to its children.

    Returns the exit code (-N for signal N). The children are those of its process group, which a
    process of `spawn` leads.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            kill_group(process)
    return process.wait()


def family_of(pid: int) -> list[int]:
    """Return the process ids of a process and of its descendants, the parents first."""
    found = [pid]
    for one in found:
        for thread in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # the thread has ended meanwhile
                found += map(int, thread.read_text().split())
    return found


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to a process, and to its children if it leads their process group."""
    if os.getpgid(process.pid) == process.pid:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


class Server:
    """A server process: start, stop, kill, freeze. Subclasses define its command line."""

    name = "server"
    startup_timeout = 30.0

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = self.directory / f"{self.name}.log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def argv(self) -> Sequence[str | Path]:
        """Return the command line. `choose_ports` has set `self.port` before."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def choose_ports(self) -> None:
        self.port = free_port()

    def ready(self) -> bool:
        return self.port in ports_of(self.pid)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StartupError(f"cannot return the PID of {self.name}: it is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, and wait until it is ready. Raises StartupError or WaitError.

        If it ends at its first start, perhaps because its port was taken, other ports are tried.
        """
        first_start = not self.port
        for attempts_left in reversed(range(5 if first_start else 1)):
            if first_start:
                self.choose_ports()
            self._process = spawn(
                self.argv(), log=self.log, env=self.environment(), cwd=self.directory
            )
            try:
                wait_until(self._ready_or_dead, self.startup_timeout, f"{self.name} is ready")
            except BaseException:
                self.kill()
                raise
            if self.running:
                return
            if not attempts_left:
                raise StartupError(
                    f"cannot start {self.name}; the end of {self.log}:\n{self.tail()}"
                )

    def _ready_or_dead(self) -> bool:
        return not self.running or self.ready()

    def stop(self) -> None:
        if self._process is not None:
            stop_process(self._process)
            self._process = None

    def kill(self) -> None:
        """Send SIGKILL to the server and to its children, as Icinga has some."""
        if self._process is not None:
            if self._process.poll() is None:
                kill_group(self._process)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start the server on the same port. Its files on disk stay."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Send SIGSTOP. The kernel still accepts connections, but the server does not answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
