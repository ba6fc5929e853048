"""Reads the state of a process on this host from /proc, for a worker that sends no heartbeat."""

import os
import time

BOOT_ID = "/proc/sys/kernel/random/boot_id"
START_FIELD = 22  # of /proc/<pid>/stat: when the process started, in clock ticks since the boot
FROM_TERMINAL = 128  # `si_code` of a signal that the kernel sent, as a terminal does: SI_KERNEL


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


def read_process_age(pid: int) -> float:
    """Return for how many seconds a process has been there; 0 if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            started = int(_fields(stat.read())[START_FIELD - 3]) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)


def is_there(pid: int) -> bool:
    """Return True if there is a process with this pid, of any user; also if it is a zombie."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def identify_process(pid: int) -> str:
    """Return a text that tells a process from every other one, also from a later one of its pid.

    It is `BOOT/NAMESPACE/PID/START`: the id of the host's last boot, the inode of our pid
    namespace, and when the process started, in clock ticks since the boot. Only who has the same
    BOOT and NAMESPACE may look for the process. "" if there is no such process, or no /proc.
    """
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            boot = file.read().strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            stat = file.read()
    except OSError:
        return ""
    return f"{boot}/{namespace}/{pid}/{_fields(stat)[START_FIELD - 3]}"


def _fields(stat: str) -> list[str]:
    """Return the fields of `/proc/<pid>/stat` from the third one on."""
    return stat.rpartition(")")[2].split()
