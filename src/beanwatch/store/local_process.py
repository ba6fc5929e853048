"""Looks for the process of a worker on this host, when its heartbeats have stopped."""

import os

from beanwatch.net.processes import identify_process, is_there, read_process
from beanwatch.store.heartbeats import Heartbeat


def find_process(heartbeat: Heartbeat) -> str:
    """Return the state of a worker's process as `read_process` does; "" if it is not known.

    It is known only on the worker's own host, and in the same pid namespace: what a container
    calls process 7 is another one outside.
    """
    boot, _, rest = heartbeat.process.partition("/")
    namespace, _, rest = rest.partition("/")
    own = identify_process(os.getpid()).split("/")
    pid = rest.partition("/")[0]
    if [boot, namespace] != own[:2] or not (pid.isascii() and pid.isdigit()):
        return ""
    if not is_there(int(pid)):
        return "gone"
    found = identify_process(int(pid))
    if not found:
        return ""  # /proc hides the processes of other users
    return read_process(int(pid)) if found == heartbeat.process else "gone"
