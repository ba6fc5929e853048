"""Program: runs a program as a child process, from its start to its end."""

import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from beanwatch.net.processes import FROM_TERMINAL, read_process
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.worker.api.monitor import WorkerMonitor
from beanwatch.worker.control.commands import CommandRequest, OnCommand
from beanwatch.worker.core.state import RECYCLED
from beanwatch.worker.monitor.host import kill_descendants
from beanwatch.worker.wrapper.child import start_child
from beanwatch.worker.wrapper.environment import make_environment
from beanwatch.worker.wrapper.listener import Listener
from beanwatch.worker.wrapper.notify_socket import NotifySocket
from beanwatch.worker.wrapper.reported_jobs import ReportedJobs
from beanwatch.worker.wrapper.tree import adopt_orphans, describe_processes
from beanwatch.worker.wrapper.watchdog import Watchdog

TICK = 1.0  # seconds
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# All signals reach the program, except those that are about this process itself, and those that the
# default action suits: a shell stops and continues this process as any other.
_NOT_FORWARDED = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS),
    *(signal.SIGABRT, signal.SIGPIPE, signal.SIGXCPU, signal.SIGXFSZ),
}


class ProgramOptions(NamedTuple):
    """The program to run, and its limits. Durations are in seconds; 0 means none."""

    command: Sequence[str]
    queue: str = ""  # of jobs that name none
    watchdog: float = 0.0  # of the program; it must feed it from its start
    systemd_watchdog: float = 0.0  # of this process; the program feeds it if it knows that
    waits_for_ready: bool = False  # the program counts as starting until it says READY=1
    stop_timeout: float = 30.0  # after which a program that was told to stop is killed

    @property
    def longest_silence(self) -> float:
        """Seconds without a word after which the program hangs, once it has fed its watchdog."""
        return self.watchdog or self.systemd_watchdog


class Program:
    """Runs a program as a child of this process. Call `run` once, in the main thread."""

    def __init__(self, options: ProgramOptions, systemd: SystemdNotifier) -> None:
        self._options, self._systemd = options, systemd
        self.name = os.path.basename(options.command[0])  # its arguments may hold secrets
        # Else Ctrl-C and Ctrl-Z, and the other programs of a pipeline, would not work as usual.
        self._is_in_own_group = not os.isatty(0)
        self._signals = {
            number
            for number in signal.valid_signals() - _NOT_FORWARDED
            if signal.getsignal(number) != signal.SIG_IGN  # as nohup does
        } | {signal.SIGCHLD}
        self._watchdog = Watchdog(options.longest_silence, is_armed=options.watchdog > 0)
        self._child = 0
        self._ended: dict[int, int] = {}  # statuses of the child and of the main process
        self._stop_reason = ""
        self._kill_at = math.inf
        self._forwarded: set[int] = set()
        self._is_stopped = False  # by SIGSTOP or a debugger
        self._command = ""  # that an operator sent
        self._notify: NotifySocket
        self._jobs: ReportedJobs
        self._monitor: WorkerMonitor
        self._listener: Listener

    @property
    def commands(self) -> Mapping[str, OnCommand]:
        """The commands of operators that it carries out."""
        return {
            "stop": self._on_command,
            "restart": self._on_command,
            "dump": lambda _: describe_processes(),
        }

    def run(self, monitor: WorkerMonitor) -> int:
        """Run the program; return its exit code, or minus the number of the signal that killed it.

        Raises StartError. If an operator told it to stop or to restart, the result is 0 or
        RECYCLED, whatever its own code is: else a supervisor would start a stopped program again.
        """
        self._monitor, options = monitor, self._options
        with suppress(OSError):  # then its orphans are not watched
            adopt_orphans()
        # If it is ignored, the kernel reaps the program, and nobody learns of its end.
        ignores_children = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        parent, self._notify = os.getpid(), NotifySocket()
        address = self._notify.address
        # From here on, signals wait until this thread fetches them.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        try:
            self._child = start_child(
                options.command,
                lambda: make_environment(os.environ, parent, address, options.longest_silence),
                {signal.Signals(number) for number in mask},
                in_own_group=self._is_in_own_group,
                ignores_children=ignores_children,
            )
            self._begin()
            status = self._wait()
        finally:
            self._notify.close()
        return self._end(status)

    def _begin(self) -> None:
        self._jobs = ReportedJobs(self._monitor, self._options.queue)
        self._listener = Listener(
            self._child,
            self._monitor,
            self._jobs,
            self._watchdog,
            self._systemd,
            self._on_stopping,
        )
        self._monitor.status(f"runs {self.name} (pid {self._child})")
        if not self._options.waits_for_ready:
            self._listener.become_ready()
        self._monitor.start()
        self._notify.start(self._listener.on_message)

    def _wait(self) -> int:
        """Wait until the program ends, and return its status."""
        next_tick = time.monotonic()
        while (status := self._find_status()) is None:
            try:
                left = min(next_tick, self._kill_at) - time.monotonic()
                if left <= 0:
                    next_tick = time.monotonic() + TICK
                    self._tick()
                elif info := signal.sigtimedwait(self._signals, left):
                    self._on_signal(info)
            except Exception as error:  # the program runs on
                self._monitor.log.error("beanwatch run failed", exc_info=error)
                time.sleep(0.1)
        return status

    def _find_status(self) -> int | None:
        """Return the status of the program if it has ended.

        A program that goes into the background, and says so (MAINPID), ends with that process.
        """
        child, main = self._child, self._listener.main_pid
        if child in self._ended and main == child:
            self._notify.flush()  # it may have sent MAINPID
            main = self._listener.main_pid
        if main != child and main not in self._ended and read_process(main) == "gone":
            self._reap()
            self._ended.setdefault(main, self._ended.get(child, 0))
        if child in self._ended:
            return self._ended.get(main)
        if main in self._ended:
            self._listener.main_pid = child
        return None

    def _on_signal(self, info: signal.struct_siginfo) -> None:
        number = info.si_signo
        if number == signal.SIGCHLD:
            self._reap()
            return
        name = signal.Signals(number).name if number in _NAMED else f"signal {number}"
        reason = f"it received {name}"
        if info.si_code == FROM_TERMINAL and not self._is_in_own_group:
            if number in (*STOP_SIGNALS, signal.SIGHUP):  # not if somebody resizes the window
                self._stop_reason = self._stop_reason or reason
            return  # the program received it too
        # The signal goes on first: what else is to be done may fail.
        self._forwarded.add(number)
        self._send(number)
        if number == signal.SIGHUP:
            self._monitor.reopen_log()
        if number in STOP_SIGNALS:
            self._stop_reason = self._stop_reason or reason
            self._start_kill_timer()
            self._on_stopping(reason)

    def _on_stopping(self, reason: str) -> None:
        self._monitor.stopping(reason, self._options.stop_timeout or None)
        self._systemd.send("STOPPING=1")

    def _on_command(self, request: CommandRequest) -> str:
        """Stop for the command `stop` or `restart`. Called in a thread of its own."""
        self._command, self._stop_reason = (
            request.name,
            f"told to {request.name} by {request.origin}",
        )
        self._on_stopping(self._stop_reason)
        self._forwarded.add(signal.SIGTERM)
        self._start_kill_timer()
        self._send(signal.SIGTERM)
        return f"sends SIGTERM to {self.name}"

    def _start_kill_timer(self) -> None:
        if self._options.stop_timeout:
            self._kill_at = min(self._kill_at, time.monotonic() + self._options.stop_timeout)

    def _send(self, number: int) -> None:
        with suppress(OSError):  # it has ended, or runs as another user now
            os.kill(self._listener.main_pid, number)

    def _reap(self) -> None:
        """Take the statuses of all children that have ended, also of orphans of the program."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in (self._child, self._listener.main_pid):
                self._ended[pid] = os.waitstatus_to_exitcode(status)

    def _tick(self) -> None:
        if not self._watchdog.is_armed:
            self._monitor.loop(is_ready=self._listener.is_ready)
        if not self._watchdog.is_expired:
            self._systemd.send("WATCHDOG=1")
        self._systemd.status(self._listener.status or f"runs {self.name} (pid {self._child})")
        self._jobs.check_owners()
        self._look_for_stop()
        if time.monotonic() >= self._kill_at:
            self._kill_at = math.inf
            killed = kill_descendants()
            self._monitor.log.warning(
                "{program} did not end within {seconds} s after {reason}: killed {processes} "
                "processes",
                program=self.name,
                seconds=f"{self._options.stop_timeout:g}",
                reason=self._stop_reason,
                processes=killed,
            )

    def _look_for_stop(self) -> None:
        """Report a program that does not run, because somebody has stopped it."""
        is_stopped = read_process(self._listener.main_pid) == "stopped"
        if is_stopped and not self._is_stopped:
            reason = f"{self.name} is stopped (SIGSTOP)"
            self._monitor.blocked(reason, is_disconnected=False)
        elif self._is_stopped and not is_stopped:
            self._monitor.blocked("", is_disconnected=False)
        self._is_stopped = is_stopped

    def _end(self, status: int) -> int:
        """Report how the program ended, and return the status of this process."""
        ended = f"{self.name} {describe_status(status)}"
        is_wanted = bool(self._stop_reason) or -status in self._forwarded
        self._jobs.end_all(ended)
        if self._command and status not in (0, -signal.SIGTERM):
            self._monitor.log.info("{ended}, {reason}", ended=ended, reason=self._stop_reason)
        self._systemd.send("STOPPING=1")
        failure = "" if is_wanted or status == 0 else ended
        self._monitor.stop(self._stop_reason or ended, failure=failure)
        if self._command:
            return RECYCLED if self._command == "restart" else 0
        return status


_NAMED = frozenset(signal.Signals)


def describe_status(status: int) -> str:
    """Return how a program ended: `ended with exit code 3`, `was killed by SIGSEGV`."""
    if status >= 0:
        return f"ended with exit code {status}"
    number = -status
    return f"was killed by {signal.Signals(number).name if number in _NAMED else number}"
