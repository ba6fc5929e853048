"""Makes records of workers for tests: a test names only the fields that matter to it."""

from typing import Any

from beanwatch.store.heartbeats import NO_HEARTBEAT, Heartbeat, JobRecord
from beanwatch.worker.control.messages import COMMANDS

NO_JOB = JobRecord("")


def make_beat(**fields: Any) -> Heartbeat:
    """A record with these fields; of a beanwatch worker that is starting, if none differs."""
    own = {"kind": "beanwatch", "commands": COMMANDS, "commands_by": "beanstalkd"}
    return NO_HEARTBEAT._replace(**{**own, **fields})


def make_job(**fields: Any) -> JobRecord:
    """A running job with these fields; its id is 7."""
    return JobRecord("7")._replace(**fields)


def running_job(beat: Heartbeat) -> JobRecord:
    """The job that a record shows; one without name and id if it shows none."""
    return beat.job or NO_JOB
