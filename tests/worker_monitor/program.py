"""A program with a monitor, which does what it reads from standard input, a line each.

python -m tests.worker_monitor.program REDIS-URL LOG
"""

import ctypes
import multiprocessing
import os
import re
import sys
import time

from beanwatch.worker import WorkerMonitor

monitor = WorkerMonitor(
    "w1", ["email"], host="web1", kind="celery", redis=sys.argv[1], log_file=sys.argv[2],
    interval=0.05, has_own_loop=True, max_idle=3600,
)  # fmt: skip


def fork(what: str) -> None:
    """Fork a child, and print its pid. Without anything to do, it does not use the monitor."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        return
    if what:
        run = monitor.begin("email", what, f"id-{what}")
        if what == "short":
            run.end()
            monitor.stop()
            os._exit(0)
    while os.getppid() == parent:
        time.sleep(0.02)
    os._exit(0)


def run_one_job(name: str) -> None:
    """Run a job, and end as programs do."""
    with monitor.job("email", name, f"id-{name}"):
        pass


def hold_the_lock(how: str) -> None:
    """Let C code hold the interpreter's lock, in a system call or in a computation."""
    if how == "wait":
        ctypes.PyDLL(None).sleep(600)
    re.match("(a+)+$", "a" * 60 + "b")


def main() -> None:
    """Obey until standard input ends."""
    monitor.start()
    for line in sys.stdin:
        monitor.loop()
        command, _, rest = line.strip().partition(" ")
        if command == "fork":
            fork(rest)
        elif command == "begin":
            monitor.begin("email", rest, 7)
        elif command == "process":
            multiprocessing.get_context("fork").Process(target=run_one_job, args=(rest,)).start()
        elif command == "lock":
            hold_the_lock(rest)
        elif command == "reap":
            pid, slot, cause = rest.split(" ", 2)
            os.waitpid(int(pid), 0)
            monitor.child_ended(int(slot), int(pid), cause)
        elif command == "raise":
            raise ValueError(rest)


if __name__ == "__main__":
    main()
