"""What guards a job while it runs: its time, its deadline, its traces and its files."""

from pathlib import Path

from beanwatch.worker.core.job import Held
from beanwatch.worker.guard.black_box import BlackBox
from beanwatch.worker.guard.deadline import Alarm
from beanwatch.worker.guard.host import TemporaryRoot
from beanwatch.worker.guard.watchdog import Watchdog


class JobGuards:
    """The guards of one worker process.

    The alarm raises in a handler whose time is over. The watchdog ends the process when no
    Python code runs any more. The black box tells the next instance which job was running. The
    temporary root holds the directories that handlers ask for.
    """

    def __init__(self, black_box: BlackBox, temporary: TemporaryRoot) -> None:
        self.alarm = Alarm()
        self.watchdog = Watchdog()
        self.black_box = black_box
        self.temporary = temporary

    def start_job(self, job: Held) -> None:
        """Note the job, and have the watchdog cover its hard deadline; the alarm is not armed."""
        self.black_box.write(job.id, job.name)
        self.watchdog.cover(job.hard)

    def end_job(self) -> None:
        """Clear the black box: after the acknowledgement no crash is to be blamed on the job."""
        self.black_box.clear()

    def make_directory(self, job: Held) -> Path:
        """A temporary directory for the job."""
        return self.temporary.make(job.id)

    def remove_directory(self, job: Held) -> str:
        """Remove the job's directory if it has one; why something is left, or ""."""
        return self.temporary.remove(job.tmpdir) if job.tmpdir is not None else ""
