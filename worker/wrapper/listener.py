"""Listener: does what the messages of a program say, and passes on what concerns systemd."""

import os
from collections.abc import Callable

from beanwatch.net.systemd import SystemdNotifier
from beanwatch.worker.api.monitor import WorkerMonitor
from beanwatch.worker.monitor.exceptions import format_exception_line
from beanwatch.worker.wrapper.messages import Message, parse_message
from beanwatch.worker.wrapper.reported_jobs import ReportedJobs
from beanwatch.worker.wrapper.tree import is_descendant, read_user
from beanwatch.worker.wrapper.watchdog import Watchdog


class Listener:
    """Handles the messages of the program `main_pid`, in the thread of the notify socket.

    `stopping` is called when the program says that it stops. Nothing raises here.
    """

    def __init__(
        self,
        main_pid: int,
        monitor: WorkerMonitor,
        jobs: ReportedJobs,
        watchdog: Watchdog,
        systemd: SystemdNotifier,
        stopping: Callable[[str], object],
    ) -> None:
        self.main_pid = main_pid  # the process that signals go to
        self.is_ready = False
        self.status = ""
        self._monitor, self._jobs, self._watchdog = monitor, jobs, watchdog
        self._systemd, self._stopping = systemd, stopping

    def on_message(self, body: bytes, pid: int, uid: int) -> None:
        """Handle one message. What cannot be used of it is counted and logged."""
        try:
            if not self._is_ours(pid, uid):
                self._monitor.ignored(f"process {pid} of user {uid} is none of the program's")
                return
            message, faults = parse_message(body)
            faults += filter(None, self._follow(message, pid))
            for fault in faults:
                self._monitor.ignored(fault)
        except Exception as error:
            self._monitor.ignored(f"beanwatch failed: {format_exception_line(error)}")

    def become_ready(self) -> None:
        """Say that the program is ready."""
        self.is_ready = True
        self._monitor.ready()
        self._systemd.send("READY=1")

    def _is_ours(self, pid: int, uid: int) -> bool:
        """Return True if the sender belongs to the program.

        A process that has ended since, such as a helper of a shell script, must have belonged to a
        user of the program: only who sees the environment of that user's processes knows the
        address of the socket.
        """
        known = is_descendant(pid, os.getpid())
        return uid in (os.getuid(), read_user(self.main_pid)) if known is None else known

    def _follow(self, message: Message, pid: int) -> list[str]:
        """Do what a message says; return why something cannot be done."""
        if message.is_ready:
            self.become_ready()
        if message.status is not None:
            self.status = message.status
            self._monitor.status(message.status)
        faults = [self._jobs.handle(message, pid)]
        if message.main_pid:
            faults.append(self._follow_to(message.main_pid))
        if message.is_stopping:
            self._stopping("the program said that it stops")
        if message.watchdog == "1":
            self._watchdog.feed()
            if not self._watchdog.is_triggered:
                self._monitor.loop(is_ready=self.is_ready)
        elif message.watchdog:
            self._watchdog.trigger()
            if not self._watchdog.timeout:  # otherwise its loop counts as stuck after that time
                self._monitor.blocked("it says itself that it hangs", is_disconnected=False)
        return faults

    def _follow_to(self, pid: int) -> str:
        if not is_descendant(pid, os.getpid()):
            return "MAINPID: that is no process of the program's"
        self.main_pid = pid
        return ""
