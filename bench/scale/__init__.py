"""What many workers, servers, queues and failures cost, and how the cost grows with them.

Times are CPU times, user and system, of the process that is measured.
"""

import os
import resource
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.real import ROOT

BIN = ROOT / ".venv" / "bin"
ROUNDS = 3


def cpu_of(argv: list[str], environ: Mapping[str, str]) -> float:
    """Run a command, and return its least CPU time in seconds. Raises CalledProcessError."""
    times = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, env={**os.environ, **environ}, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        times.append(sum(used))
    return min(times)


def cpu_until_now(pid: int) -> float:
    """Return the CPU time in seconds that a running process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table in Markdown, and an empty line."""
    heading = list(heading)
    for row in (heading, ["---"] * len(heading), *rows):
        print(f"| {' | '.join(row)} |")
    print(flush=True)
