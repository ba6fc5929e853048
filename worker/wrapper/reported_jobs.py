"""ReportedJobs: the jobs of which a program tells in its messages."""

import secrets
import threading
import time

from beanwatch.net.processes import read_process, read_process_age
from beanwatch.worker.api.monitor import WorkerMonitor
from beanwatch.worker.monitor.program.monitored_run import MonitoredRun
from beanwatch.worker.wrapper.messages import Message

MAX_RUNNING = 1000  # jobs at once
# A helper that only sends a message, such as systemd-notify, begins shortly before it (seconds),
# and ends shortly after it. Its end says nothing of the job.
HELPER_START, HELPER_END = 5.0, 0.5
NOT_ENDED = "the program began another job and did not say how this one ended"


class _Reported:
    """A running job, and the process that began it."""

    def __init__(self, run: MonitoredRun, pid: int) -> None:
        self.run, self.pid, self.began = run, pid, time.monotonic()
        self.is_owned = read_process_age(pid) > HELPER_START  # by a process that is no helper


class ReportedJobs:
    """Begins and ends runs of `monitor`. Two threads may use it.

    A job is found by the id that the program gave it. Without an id, a process runs one job at a
    time: the next one replaces it. `queue` is that of jobs which name none.
    """

    def __init__(self, monitor: WorkerMonitor, queue: str) -> None:
        self._monitor, self._queue = monitor, queue
        self._lock = threading.Lock()
        self._running: dict[str, _Reported] = {}  # by the id, or by the process without one
        # Two programs must not give their jobs the same ids.
        self._prefix, self._count = secrets.token_hex(6), 0

    def handle(self, message: Message, pid: int) -> str:
        """Do what a message of the process `pid` says; return why that cannot be done, or ""."""
        with self._lock:
            if message.job:
                return self._begin(message, pid)
            if message.done:
                return self._end(message.id, pid, message.done, message.reason)
            if message.status is not None and (found := self._find(message.id, pid)):
                self._running[found].run.note(message.status)
            return ""

    def check_owners(self) -> None:
        """End the jobs of processes that have died. Call this about once a second."""
        with self._lock:
            for key, job in list(self._running.items()):
                if _is_alive(job.pid):
                    job.is_owned |= time.monotonic() - job.began > HELPER_END
                elif job.is_owned:
                    reason = f"its process {job.pid} ended and did not say how the job ended"
                    self._running.pop(key).run.end("failed", reason)

    def end_all(self, reason: str) -> None:
        """End all jobs, because the program has ended."""
        with self._lock:
            for job in self._running.values():
                job.run.end("failed", reason)
            self._running.clear()

    def _begin(self, message: Message, pid: int) -> str:
        if message.done and (problem := self._end("", pid, message.done, message.reason)):
            return problem
        key = self._key(message.id, pid)
        for replaced in self._find_replaced(key):
            self._running.pop(replaced).run.end("failed", NOT_ENDED)
        if len(self._running) >= MAX_RUNNING:
            return f"it says that more than {MAX_RUNNING} jobs run at once"
        self._count += 1
        job_id = message.id or f"{self._prefix}-{self._count}"
        run = self._monitor.begin(message.queue or self._queue, message.job, job_id)
        run.forget_place()
        self._running[key] = _Reported(run, pid)
        return ""

    def _find_replaced(self, key: str) -> list[str]:
        """Return the jobs that end with the begin of the job `key`: those of the same process.

        The helpers of a shell script each have a pid of their own, and have ended by then.
        """
        if key in self._running:
            return [key]
        if key.startswith("id "):
            return []
        return [
            known
            for known, job in self._running.items()
            if known.startswith("process ") and not (job.is_owned or _is_alive(job.pid))
        ]

    def _end(self, job_id: str, pid: int, outcome: str, reason: str) -> str:
        key = self._find(job_id, pid)
        if not key:
            return "X_BEANWATCH_DONE: no such job runs"
        self._running.pop(key).run.end(outcome, reason)
        return ""

    def _find(self, job_id: str, pid: int) -> str:
        """Return the key of the job that a process means; "" if it is not clear.

        Without an id, it is the one that this process began last. A process that began none, such
        as a helper of a shell script, means the only job that runs.
        """
        if job_id:
            key = self._key(job_id, pid)
            return key if key in self._running else ""
        own = [key for key, job in self._running.items() if job.pid == pid]
        if own:
            return own[-1]
        return next(iter(self._running)) if len(self._running) == 1 else ""

    @staticmethod
    def _key(job_id: str, pid: int) -> str:
        return f"id {job_id}" if job_id else f"process {pid}"


def _is_alive(pid: int) -> bool:
    return read_process(pid) != "gone"
