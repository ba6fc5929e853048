"""A stranger's host: this machine's Debian, seen from namespaces in which nothing else runs.

Ports, processes, /etc, /usr, /var and /opt are its own, so that what a page shows can be typed
as it stands, with the usual ports and paths, and leaves nothing behind.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.operations.shown import Shown
from tests.real import ROOT
from tests.real.process import SYSTEM_PATH

UNSHARE = [
    "unshare",
    "--mount",
    "--net",
    "--uts",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
]
MARK = "@@@"
# Ends at the first step that fails: what follows must never reach the host that this runs on.
COVER = """\
set -eu
mount -t tmpfs tmpfs {work}
mkdir {work}/home
for tree in etc usr var opt; do
    mkdir -p {work}/$tree/up {work}/$tree/work
    layers=lowerdir=/$tree,upperdir={work}/$tree/up,workdir={work}/$tree/work
    mount -t overlay overlay -o $layers /$tree
    test "$(stat --file-system --format=%T /$tree)" = overlayfs
done
"""
PROLOGUE = """\
hostname queue1
ip link set lo up
mount -t tmpfs tmpfs /usr/local
mount -t tmpfs tmpfs /run
mkdir -p /usr/local/bin /usr/local/sbin
cp {stub} /usr/local/sbin/systemctl
cp {stub} /usr/local/sbin/journalctl
chmod 755 /usr/local/sbin/*
rm -rf /etc/beanwatch /opt/beanwatch /var/lib/prometheus
echo '127.0.1.1 queue1' >> /etc/hosts
printf '#!/bin/sh\ncat >> /var/mail/mail\n' > /usr/sbin/sendmail
chmod 755 /usr/sbin/sendmail
rm -f /var/mail/*
touch /var/mail/mail
chmod 666 /var/mail/mail
# Its minutes pass in three seconds, so that an alert is there soon. The shortest interval, 0.34
# minutes, is a second then: Nagios would round it down to 0 s if a minute was shorter.
sed -i 's/^interval_length=.*/interval_length=3/' /etc/nagios4/nagios.cfg
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME={work}/home TERM=dumb
export PIP_NO_INDEX=1 PIP_FIND_LINKS={wheels} PIP_ROOT_USER_ACTION=ignore
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8
unset $(env | sed -n 's/^\\(BEANWATCH_[A-Z_]*\\|PYTHON[A-Z]*\\|VIRTUAL_ENV\\)=.*/\\1/p')
cd {work}/home
set +e
"""


class Ran(list[str]):
    """The lines that a command printed, and its exit code."""

    code = -1


def can_be_made() -> bool:
    """May we make namespaces and overlays here?"""
    tools = ("unshare", "ip", "nagios4")
    if os.geteuid() != 0 or not all(shutil.which(tool, path=SYSTEM_PATH) for tool in tools):
        return False
    with tempfile.TemporaryDirectory() as work:
        argv = [*UNSHARE, "bash", "-c", COVER.format(work=work)]
        return subprocess.run(argv, capture_output=True, timeout=30).returncode == 0


def run(
    commands: Sequence[Shown], wheels: Path, work: Path, *, before: str = "", timeout: float = 600
) -> list[Ran]:
    """Type the commands into one shell of a new host; what each printed.

    `before` is what the host has done already. A command that fails does not stop the rest; one
    that does not end ends the host.
    """
    work.mkdir()
    stub = ROOT / "tests" / "operations" / "systemctl.py"
    script = (COVER + PROLOGUE).format(work=work, stub=stub, wheels=wheels)
    # /tmp is this machine's: the next run would find there what killed workers have left.
    script += f"export TMPDIR=/var/tmp\n{before}\n"
    for number, shown in enumerate(commands):
        # Each in braces and not in a subshell: cd, export and functions go on.
        script += f"printf '\\n{MARK} %s\\n' {number}\n{{\n{shown.command}\n}}\n"
        script += f"printf '\\n{MARK} exit %s\\n' $?\n"
    typed = work.with_suffix(".sh")  # a file, as commands may read standard input
    typed.write_text(script)
    process = subprocess.Popen(
        [*UNSHARE, "bash", typed],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": SYSTEM_PATH},
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()  # and by --kill-child everything of that host
        output, _ = process.communicate()
    return parse(output, len(commands))


def parse(output: str, number: int) -> list[Ran]:
    """Take the marked output apart."""
    found = []
    parts = output.split(f"\n{MARK} ")
    printed = {p.partition("\n")[0]: p.partition("\n")[2] for p in parts}
    exits = [part.split()[1] for part in parts if part.startswith("exit ")]
    for index in range(number):
        ran = Ran(printed.get(str(index), "(not reached)").rstrip("\n").splitlines())
        ran.code = int(exits[index]) if index < len(exits) else -1
        found.append(ran)
    return found
