"""Run a program on a host whose only name server receives queries but never answers."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

# It runs in network and mount namespaces of its own, so that the name server can use port 53.
_SCRIPT = """
import fcntl, socket, struct, subprocess, sys
lo = struct.pack("16sh14x", b"lo", 1)
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, lo)
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.bind(("127.0.0.1", 53))
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
done = subprocess.run(sys.argv[2:], capture_output=True, text=True)
dns.setblocking(False)
assert dns.recv(512)
sys.stdout.write(done.stdout)
sys.stderr.write(done.stderr)
sys.exit(done.returncode)
"""


def run_with_silent_dns(
    directory: Path, argv: Sequence[str | Path], *, timeout: float = 30.0
) -> "subprocess.CompletedProcess[str]":
    """Run the program; return its output and exit code. Fails if it sent no DNS query.

    Skips the test on a machine that does not allow namespaces.
    """
    resolv = directory / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", *user, "-mn", sys.executable, "-c", _SCRIPT, resolv, *argv],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.stderr.startswith(("unshare: ", "mount: ")):
        pytest.skip("this machine does not allow network namespaces (unshare failed)")
    return done
