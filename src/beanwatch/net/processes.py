"""The state of a process on this host, from /proc, for a worker that sends no heartbeat."""


def read_process(pid: int) -> str:
    """Return `running`, `waiting` (in a system call), `stopped` (SIGSTOP, a debugger) or `gone`."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return parse_process(stat.read())
    except OSError:
        return "gone"


def parse_process(stat: str) -> str:
    """Read the text of `/proc/<pid>/stat` (proc(5)).

    The command's name in it may hold spaces and brackets, so look behind the last bracket.
    """
    letter = stat.rpartition(")")[2].strip()[:1]
    if letter in ("T", "t"):
        return "stopped"
    if letter == "R":
        return "running"
    return "gone" if letter in ("Z", "X", "") else "waiting"
