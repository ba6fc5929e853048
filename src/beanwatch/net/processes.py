"""What the kernel of this host says of a worker's process, where the heartbeat cannot."""


def read_process(pid: int) -> str:
    """One word: running, waiting (in a system call), stopped (SIGSTOP, a debugger), or gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return parse_process(stat.read())
    except OSError:
        return "gone"


def parse_process(stat: str) -> str:
    """Read `/proc/<pid>/stat`; the command's name in it may hold spaces and brackets."""
    letter = stat.rpartition(")")[2].strip()[:1]
    if letter in ("T", "t"):
        return "stopped"
    if letter == "R":
        return "running"
    return "gone" if letter in ("Z", "X", "") else "waiting"
