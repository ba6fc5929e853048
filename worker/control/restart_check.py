"""Tries in a child process whether the next instance could import the application."""

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

TRIAL_TIMEOUT = 60.0  # seconds for the child
MAX_OUTPUT = 1000  # characters of the child's last line
# A child must not report itself to systemd in place of the worker.
_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


def find_directory(environment: Mapping[str, str] = os.environ) -> str:
    """Return the working directory, by the name with which it was entered if that is known.

    A deploy may replace a link in that name: then the next instance begins in another directory.
    """
    named, present = environment.get("PWD", ""), os.getcwd()
    try:
        is_same = os.path.isabs(named) and os.path.samefile(named, present)
    except OSError:
        is_same = False
    return named if is_same else present


class RestartCheck:
    """Runs `command`, which imports the application and exits, before the worker obeys a restart.

    A broken application would stop all workers for good: they exit for the restart, and cannot
    start again. The command runs in `directory`. If it is empty, every check succeeds. `broken` are
    its exit codes that mean that the next instance cannot start.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: str,
        broken: Sequence[int],
        *,
        timeout: float = TRIAL_TIMEOUT,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._command, self._directory, self._broken = command, directory, broken
        self._timeout, self._environment = timeout, environment
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Return True while a check runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, report: Callable[[str], object]) -> None:
        """Check in a thread, which calls `report` with why the next instance cannot start, or "".

        If no thread can be started, `report` is called at once, with "".
        """
        self._thread = threading.Thread(
            target=lambda: report(self.find_fault()), name="restart check", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            report("")

    def find_fault(self) -> str:
        """Return why the next instance cannot start; "" if it can, or if that cannot be tried."""
        if not self._command:
            return ""
        inherited = {k: v for k, v in self._environment.items() if k not in _OWN_VARIABLES}
        try:
            done = subprocess.run(
                self._command,
                cwd=self._directory,
                env=inherited,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"importing the application takes longer than {self._timeout:g} s"
        except OSError as error:
            # Without the directory, a release that was deleted, nothing can be tried.
            if error.errno == errno.ENOENT and os.path.isdir(self._directory):
                return f"cannot run {self._command[0]}: {error.strerror}"
            return ""  # no process can be started now; that says nothing about the application
        if done.returncode not in self._broken:
            return ""
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        return lines[-1].removeprefix("beanwatch: ")[:MAX_OUTPUT]
