"""The guards of a running job: its timeout, its hard deadline, its black box and its files."""

from pathlib import Path

from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.guard.black_box import BlackBox
from beanwatch.worker.guard.deadline import Alarm
from beanwatch.worker.guard.host import TemporaryRoot
from beanwatch.worker.guard.watchdog import Watchdog


class JobGuards:
    """The guards of one worker process.

    The alarm raises an exception in a handler at its timeout. The watchdog ends the process if no
    Python code can run any more. The black box tells the next instance which job was running. The
    temporary root holds the directories that handlers ask for.
    """

    def __init__(self, black_box: BlackBox, temporary: TemporaryRoot) -> None:
        self.alarm = Alarm()
        self.watchdog = Watchdog()
        self.black_box = black_box
        self.temporary = temporary

    def start_job(self, job: RunningJob) -> None:
        """Write the job into the black box, and set the watchdog to its hard deadline."""
        self.black_box.write(job.id, job.name)
        self.watchdog.cover(job.hard_deadline)

    def end_job(self) -> None:
        """Clear the black box: after the acknowledgement a crash must not be blamed on the job."""
        self.black_box.clear()

    def make_directory(self, job: RunningJob) -> Path:
        """Make a temporary directory for the job."""
        return self.temporary.make(job.id)

    def remove_directory(self, job: RunningJob) -> str:
        """Remove the job's directory, if it has one. Returns why files are left, or ""."""
        return self.temporary.remove(job.tmpdir) if job.tmpdir is not None else ""
