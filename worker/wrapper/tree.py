"""Finds the processes of a program, their memory and their processor time, in /proc.

The program's orphans stay in the tree: `adopt_orphans` makes this process their new parent.
"""

import ctypes
import os
import resource
from typing import NamedTuple

from beanwatch.net.processes import read_process
from beanwatch.worker.monitor.facts import ProcessFacts
from beanwatch.worker.monitor.host import find_descendants

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MAX_ANCESTORS = 1000
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Fields of /proc/<pid>/stat, counted from the third one.
_PARENT, _CPU, _RSS = 1, slice(11, 15), 21


class ProcessStat(NamedTuple):
    """A process: its parent, its memory (bytes), and the CPU time that it has used (seconds).

    The CPU time includes that of its child processes that have ended.
    """

    parent: int
    rss: int
    cpu: float


def control_process(option: int, value: int) -> None:
    """Call prctl(2). Does nothing where it does not exist; raises OSError if it fails."""
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is not None and prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def adopt_orphans() -> None:
    """Become the parent of descendants that lose their own, as PID 1 is. Raises OSError."""
    control_process(PR_SET_CHILD_SUBREAPER, 1)


def read_stat(pid: int) -> ProcessStat | None:
    """Read a process from /proc; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        cpu = sum(map(int, fields[_CPU])) / _TICKS
        return ProcessStat(int(fields[_PARENT]), int(fields[_RSS]) * _PAGE, cpu)
    except (OSError, ValueError, IndexError):
        return None


def read_user(pid: int) -> int | None:
    """Return the user that a process runs as; None if there is no such process."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def describe_processes() -> str:
    """Return a line for each descendant of this process: what it is, and where it waits."""
    lines = []
    for pid in find_descendants(os.getpid()):
        stat, name = read_stat(pid), _read_text(pid, "comm")
        if stat is not None:
            place = _read_text(pid, "wchan")
            waits = f", in the kernel's {place}" if place.strip("0") else ""
            state = read_process(pid)
            lines.append(f"{pid} {name}: {state}{waits}, {stat.cpu:.1f} s of CPU time")
    return "\n".join(lines)


def _read_text(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def is_descendant(pid: int, ancestor: int) -> bool | None:
    """Return True if a process descends from another one; None if it does not exist any more."""
    stat = read_stat(pid)
    if stat is None:
        return None
    for _ in range(MAX_ANCESTORS):
        if stat is None or stat.parent == ancestor:
            return stat is not None
        stat = read_stat(stat.parent)
    return False


class TreeFacts(ProcessFacts):
    """Measures all descendants of this process. Memory that they share counts several times."""

    def measure(self) -> None:
        """Measure anew. Raises nothing."""
        found = [read_stat(pid) for pid in find_descendants(os.getpid())]
        alive = [stat for stat in found if stat is not None]
        self.rss = sum(stat.rss for stat in alive) if alive else None
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = sum(stat.cpu for stat in alive) + ended.ru_utime + ended.ru_stime
        # A process that ends meanwhile may be missed once.
        self.cpu = max(self.cpu or 0.0, round(cpu, 3))
