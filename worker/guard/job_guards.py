"""Holds the objects that guard a running job: alarm, watchdog, black box, temporary files."""

from collections.abc import Callable
from pathlib import Path

from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.guard.black_box import BlackBox
from beanwatch.worker.guard.deadline import Alarm
from beanwatch.worker.guard.descriptors import OwnDescriptors
from beanwatch.worker.guard.temporary import TemporaryRoot
from beanwatch.worker.guard.watchdog import Watchdog


class JobGuards:
    """Holds the guards of one worker process.

    The alarm raises an exception in a handler at its timeout. The watchdog ends the process if no
    Python code can run any more. The black box tells the next instance which job was running. The
    temporary root holds the directories that handlers ask for. `descriptors` detects that a job
    closed the worker's own files.
    """

    def __init__(self, black_box: BlackBox, temporary: TemporaryRoot) -> None:
        self.alarm = Alarm()
        self.watchdog = Watchdog(black_box.fatal_stacks, black_box.idle_stacks)
        self.black_box = black_box
        self.temporary = temporary
        self.descriptors = OwnDescriptors()
        self.descriptors.watch(temporary.descriptors)

    def start_job(self, job: RunningJob, server: str) -> None:
        """Write the job into the black box, and arm the watchdog for its hard deadline.

        `server` is the `id` in the `stats` of the beanstalkd that delivered the job.
        """
        self.black_box.write_run(job, server)
        self.black_box.status.start_job(job.hard_deadline)
        self.watchdog.cover_job(job.hard_deadline)

    def write_exit(self, reason: str) -> None:
        """Write into the black box why the process exits ("": on request). Checks can read it.

        Raises OSError.
        """
        self.black_box.write_exit(reason)
        self.temporary.share_black_box()

    def make_directory(self, job: RunningJob) -> Path:
        """Make a temporary directory for the job and return its path. Raises OSError."""
        return self.temporary.make(job.id)

    def remove_directory(
        self, job: RunningJob, timeout: float, must_stop: Callable[[], bool]
    ) -> str:
        """Remove the job's directory, if any. Returns "", or the path that remains and why.

        Waits as `TemporaryRoot.remove` does.
        """
        if job.tmpdir is None:
            return ""
        return self.temporary.remove(job.tmpdir, timeout, must_stop)
