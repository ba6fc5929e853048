"""Worker classes for RQ 2 and 3: `rq worker --worker-class beanwatch.worker.adapters.rq.Worker`.

The worker process beats. RQ's `Worker` runs each job in a forked child, its work horse, which
tells its parent what it does (forked_job.py). So the check knows at once that a job was killed, or
that it hangs in C code.
"""

import json
import math
import os
import pickletools
import re
import signal
import time
from typing import Any

import redis.exceptions
import rq
from rq.job import Job, JobStatus
from rq.suspension import is_suspended
from rq.timeouts import JobTimeoutException

from beanwatch.worker import CommandRequest, MonitoredRun, WorkerMonitor
from beanwatch.worker.adapters.forked_job import Ended, ForkedJob
from beanwatch.worker.adapters.hold import Hold
from beanwatch.worker.adapters.names import claim_name, clean_name
from beanwatch.worker.adapters.quietly import quietly
from beanwatch.worker.monitor.exceptions import format_exception_line, render_traceback

TURN = 5  # seconds for which the worker waits for a job before it looks for commands
MAX_IDLE = 60.0 + 4 * TURN  # seconds; RQ waits up to 60 s before it connects to Redis again
RUNS_AGAIN = frozenset({JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.DEFERRED})
_RANDOM_NAME = re.compile(r"[0-9a-f]{32}")  # what RQ takes if it is given no --name


class Watched(rq.worker.BaseWorker):
    """The part that all watched worker classes share. Put it before a worker class of RQ."""

    monitor_name = "rq"  # of workers without a --name: their ids are HOST.rq-1 and so on
    monitor: WorkerMonitor | None = None  # None: it could not be made
    _job_run: MonitoredRun | None = None
    _forked: ForkedJob | None = None  # None: the job runs in this process
    _error: BaseException | None = None  # of the job
    _error_text = ""  # what RQ says of a job whose process has ended
    _fault: BaseException | None = None  # what ended the work loop
    _is_told_to_stop = False

    # -- the worker

    def work(self, burst: bool = False, *args: Any, **kwargs: Any) -> bool:
        """Work as RQ does, and report it."""
        self._start_monitor()
        try:
            return bool(self._note_fault(super().work, burst, *args, **kwargs))
        finally:
            limits = (kwargs.get("max_jobs"), kwargs.get("max_idle_time"))
            may_end = burst or any(limit is not None for limit in limits)
            self._stop_monitor(self._is_told_to_stop or (may_end and self._fault is None))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._on_hold = Hold()
        super().__init__(*args, **kwargs)

    @quietly
    def _start_monitor(self) -> None:
        name = "" if _RANDOM_NAME.fullmatch(self.name) else self.name
        self.monitor = WorkerMonitor(
            clean_name(name, "rq") if name else claim_name(self.monitor_name),
            self.queue_names(),
            kind="rq",
            max_idle=MAX_IDLE,
            commands={
                "stop": self._obey_stop,
                "wait": self._obey_wait,
                "resume": self._on_hold.resume,
            },
        )
        self.monitor.start()

    @quietly
    def _stop_monitor(self, is_requested: bool) -> None:
        if self.monitor is None:
            return
        failure = "" if is_requested else "RQ ended its work loop, see its log"
        if failure and self._fault is not None:
            failure = f"RQ ended its work loop: {format_exception_line(self._fault)}"
        self.monitor.stop(failure=failure)

    def request_stop(self, signum: int, frame: Any) -> None:
        """Stop after the running job."""
        self._is_told_to_stop = True
        if self.monitor is not None:
            self.monitor.stopping(f"it was told to stop by signal {signum}")
        # RQ may raise an exception to stop, but what reports a job lets none out.
        self._stop_requested = True
        super().request_stop(signum, frame)

    def _obey_stop(self, request: CommandRequest) -> str:
        if self._is_told_to_stop:  # a second signal would end the running job
            return "stops already"
        self._is_told_to_stop = True  # the signal may reach its handler after the next command
        os.kill(os.getpid(), signal.SIGTERM)
        return "stops after the running job"

    def _obey_wait(self, request: CommandRequest) -> str:
        self._on_hold.wait(request)
        return f"takes no jobs until `resume`, from its next turn on: within {TURN} s"

    # -- waiting for jobs

    def check_for_suspension(self, burst: bool) -> None:
        """Wait as RQ does while it is suspended, before it looks for a job; and report it."""
        if not burst:
            self._hold()
        super().check_for_suspension(burst)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> Any:
        """Wait for a job, in turns: between two of them, the worker obeys commands."""
        if timeout is None:  # take what is there
            return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        began = time.monotonic()
        while True:
            self._hold()
            if self._stop_requested:
                return None
            left = math.inf
            if max_idle_time is not None:
                left = max_idle_time - (time.monotonic() - began)
            turn = max(1, math.ceil(min(TURN, left)))
            result = self._note_fault(super().dequeue_job_and_maintain_ttl, timeout, turn)
            if result is not None or left <= TURN:
                return result

    def _hold(self) -> None:
        """Wait while the worker is to take no jobs: by `rq suspend`, or by a command."""
        is_held = False
        while not self._stop_requested and (why := self._find_hold()):
            is_held = True
            self._tell_held(why)
            time.sleep(1)
        if is_held and self.monitor is not None:
            self.monitor.ready()

    def _find_hold(self) -> str:
        """Return why the worker is to take no jobs; "" if it is to take jobs."""
        try:
            # This also sends RQ's own heartbeat.
            is_held = is_suspended(self.connection, self)
        except redis.exceptions.RedisError:  # RQ finds that too, and tries again
            is_held = False
        return self._on_hold.reason or ("it was suspended by `rq suspend`" if is_held else "")

    @quietly
    def _tell_held(self, why: str) -> None:
        if self.monitor is not None:
            self.monitor.paused(why)
            self.monitor.loop()
        self.set_state("suspended")

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Send RQ's own heartbeat; this shows whether the worker can use its queue server."""
        try:
            super().heartbeat(timeout, pipeline)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            self._tell_blocked(error)
            raise
        if pipeline is None and self.monitor is not None and not self.is_horse:
            self.monitor.ready()

    @quietly
    def _tell_blocked(self, error: Exception) -> None:
        if self.monitor is not None and not self.is_horse:
            self.monitor.blocked(f"cannot use the Redis of its queues: {error}")

    def _note_fault(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            self._fault = error
            raise

    # -- jobs

    def execute_job(self, job: Job, queue: Any) -> None:
        """Run a job, in this process or in a child, and report how it ended."""
        self._begin(job, queue)
        is_over = False
        try:
            self._note_fault(super().execute_job, job, queue)
            is_over = True
        finally:
            self._end(job, is_over)

    @quietly
    def _begin(self, job: Job, queue: Any) -> None:
        self._error, self._error_text, self._forked = None, "", None
        if self.monitor is None:
            return
        limit = job.timeout or self.queue_class.DEFAULT_TIMEOUT
        self._job_run = self.monitor.begin(
            queue.name,
            find_function_name(job.data),
            job.id,
            attempt=(getattr(job, "number_of_retries", None) or 0) + 1,
            timeout=max(0, limit),  # -1: it has no limit
            hard_timeout=limit + 60 if self._forks and limit > 0 else None,
        )
        if self._forks:
            self._forked = self._job_run.elsewhere = ForkedJob(self._job_run)

    @property
    def _forks(self) -> bool:
        """True if jobs run in children. RQ's SimpleWorker has no `fork_work_horse` of its own."""
        return not isinstance(self, rq.SimpleWorker)

    def perform_job(self, job: Job, *args: Any) -> bool:
        """Run a job, in the process that the class of the worker has chosen."""
        self._prepare()
        is_done = bool(super().perform_job(job, *args))
        self._tell_parent(job, is_done)
        return is_done

    @quietly
    def _prepare(self) -> None:
        if self._forked is not None and self.monitor is not None and self.is_horse:
            self._forked.report_from_child(self.monitor.interval)

    @quietly
    def _tell_parent(self, job: Job, is_done: bool) -> None:
        if self._forked is not None and self.is_horse:
            self._forked.end_in_child(self._judge(job, is_done))

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Remember the exception of the job."""
        self._error = exc_info[1]
        super().handle_exception(job, *exc_info)

    def handle_job_failure(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Remember what RQ says of a job whose process has ended."""
        self._error_text = str(kwargs.get("exc_string", ""))
        super().handle_job_failure(job, *args, **kwargs)

    @quietly
    def _end(self, job: Job, is_over: bool) -> None:
        run, forked = self._job_run, self._forked
        self._job_run = self._forked = None
        if run is None or self.is_horse:
            return
        try:
            ended = forked.read_end() if forked is not None else None
            if ended is None and is_over:
                if forked is None:
                    ended = self._judge(job, self._error is None)
                else:
                    ended = self._judge_killed(job, 0 < run.deadline < time.monotonic())
            if ended is None:
                reason = self._read_error_text() or "its worker was shut down while it ran"
                ended = Ended("buried", reason, "")
        except Exception as error:  # RQ has no record of it any more, or Redis fails
            reason = f"its end is not known: {format_exception_line(error)}"
            ended = Ended("failed", reason, "")
        run.end(ended.outcome, ended.reason, traceback=ended.traceback)

    def _judge(self, job: Job, is_done: bool) -> Ended:
        """Return how a job ended that has run to its end, by what RQ has made of it."""
        status = job.get_status(refresh=False)
        error = self._error
        reason = "" if error is None else format_exception_line(error)
        traceback = render_traceback(error)
        is_failure = error is not None or isinstance(job._result, rq.Retry)
        if is_failure and status in RUNS_AGAIN:  # a job that repeats runs again, too
            return Ended("retry", reason or "the job returned Retry", traceback)
        if is_done and status != JobStatus.FAILED:
            return Ended("ok", "", "")
        outcome = "timeout" if isinstance(error, JobTimeoutException) else "buried"
        return Ended(outcome, reason or "the job returned Retry too often", traceback)

    def _read_error_text(self) -> str:
        """Return the last line of what RQ says of a job; "" if it says nothing."""
        return self._error_text.strip().rpartition("\n")[2].rstrip("; ")

    def _judge_killed(self, job: Job, is_late: bool) -> Ended:
        """Return how a job ended whose child did not tell that, by what RQ has found."""
        status, reason = job.get_status(), self._read_error_text()
        if status in RUNS_AGAIN:
            return Ended("retry", reason, "")
        if status == JobStatus.STOPPED:
            return Ended("discarded", "stopped by a command of RQ", "")
        if status == JobStatus.FAILED:
            return Ended("timeout" if is_late else "buried", reason, "")
        if status == JobStatus.FINISHED:
            return Ended("ok", "", "")
        name = getattr(status, "value", status)
        reason = f"its process ended without saying how, and RQ still says: {name}"
        return Ended("buried", reason, "")


def find_function_name(data: bytes) -> str:
    """Return the function that a job calls, from the job's data; "unknown" if it is not found.

    The data is the list (name, instance, args, kwargs). It is not unpickled: that could import the
    application into the parent, whose children would then run old code after a deployment.
    """
    try:
        if data.startswith(b"["):
            name = json.loads(data)[0]
        else:
            name = next(arg for _, arg, _ in pickletools.genops(data) if type(arg) is str)
    except (ValueError, IndexError, StopIteration, RecursionError):
        return "unknown"
    return name if type(name) is str and name else "unknown"


class Worker(Watched, rq.Worker):
    """RQ's default worker, which forks for each job; watched."""


class SimpleWorker(Watched, rq.SimpleWorker):
    """RQ's worker that runs jobs in its own process; watched."""
