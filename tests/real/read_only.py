"""Run a program on a host on which nothing can be written, as in a container with such a root."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_SCRIPT = """
mount -t tmpfs tmpfs "$0" || exit 200
awk '$2 !~ "^/(proc|sys|dev)" { print $2 }' /proc/mounts | while read -r where; do
    test "$where" = "$0" || mount -o remount,bind,ro "$where" || exit 200
done || exit 200
exec "$@"
"""


def run_read_only(
    writable: Path, argv: Sequence[str | Path], *, timeout: float = 30.0
) -> "subprocess.CompletedProcess[str]":
    """Run the program; only the directory `writable` can be written. Return output and exit code.

    Skips the test on a machine that does not allow namespaces.
    """
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", *user, "-m", "sh", "-c", _SCRIPT, writable, *argv],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "TMPDIR": "/tmp"},
    )
    if done.stderr.startswith("unshare: ") or done.returncode == 200:
        pytest.skip(f"this machine does not allow a read-only root: {done.stderr}")
    return done
