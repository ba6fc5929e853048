"""Runs the worker as a child of a small process where it is started as PID 1, as in a container.

PID 1 inherits the orphans of all processes, and must reap them when they end. The worker itself
cannot do this: it would also take away the exit codes for which handlers wait.
"""

import os
import signal

from beanwatch.net.processes import FROM_TERMINAL
from beanwatch.worker.core.signals import SIGNALS


def leave_pid_1() -> None:
    """If this process is PID 1, go on in a child process, with the same signals and exit code.

    PID 1 passes the worker's signals on to the child, and exits when the child ends: with the
    child's exit code, or with 128 + N if signal N killed it. Call this before a thread starts.
    """
    if os.getpid() != 1:
        return
    signals = {*SIGNALS, signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, the kernel reaps the child
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child:
        os._exit(_serve(child, signals))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _serve(child: int, signals: set[signal.Signals]) -> int:
    """Reap all processes and pass signals on, until `child` ends. Return the exit code."""
    while True:
        received = signal.sigwaitinfo(signals)
        if received.si_signo != signal.SIGCHLD:
            if received.si_code != FROM_TERMINAL:  # otherwise the child has received it too
                os.kill(child, received.si_signo)
            continue
        pid, status = -1, 0
        while pid:  # one SIGCHLD may stand for several processes
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
