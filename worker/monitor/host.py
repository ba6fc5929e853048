"""Kills child processes, and reads memory use."""

import os
import signal

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


def read_rss() -> int | None:
    """Return the resident memory of this process in bytes; None without /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_SIZE
    except (OSError, ValueError, IndexError):
        return None


def find_descendants(pid: int) -> list[int]:
    """Return the pids of all descendants of a process, parents before their children."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as children:
                ids = [int(child) for child in children.read().split()]
        except OSError:
            continue
        for child in ids:
            found += [child, *find_descendants(child)]
    return found


def kill_descendants() -> int:
    """Kill all descendants of this process, which handlers started. Returns their number."""
    killed = find_descendants(os.getpid())
    for pid in killed:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # it ended by itself
    return len(killed)
