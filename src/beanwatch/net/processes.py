"""Reads the state of a process on this host from /proc, for a worker that sends no heartbeat."""


def read_process(pid: int) -> str:
    """Return a process's state: `running`, `waiting`, `stopped` or `gone`.

    waiting: in a system call. stopped: by SIGSTOP or a debugger. gone: it has exited, or there is
    no process with this pid.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return parse_process(stat.read())
    except OSError:
        return "gone"


def parse_process(stat: str) -> str:
    """Return a process's state, as `read_process` does, from `/proc/<pid>/stat` (proc(5)).

    The state follows the last closing bracket: the command's name may contain spaces and brackets.
    """
    letter = stat.rpartition(")")[2].strip()[:1]
    if letter in ("T", "t"):
        return "stopped"
    if letter == "R":
        return "running"
    return "gone" if letter in ("Z", "X", "") else "waiting"
