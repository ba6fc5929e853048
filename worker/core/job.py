"""Holds the state of the running job, which the worker's threads share."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from beanwatch.worker.api.envelope import Envelope
from beanwatch.worker.core.connection_protocol import JobStats, Reserved
from beanwatch.worker.monitor.jobs import ObservedJob
from beanwatch.worker.monitor.runs import JobSource

UNKNOWN_JOB = "unknown"  # the name of a job for which no handler is registered
MAX_CLOCK_ERROR = 86400.0  # seconds; a producer's time that is further off is no time of a put
EMPTY_ENVELOPE = Envelope(UNKNOWN_JOB)


class RunningJob(ObservedJob):
    """Holds the state of one run of one job.

    Durations and the deadlines use the monotonic clock. `started_at` and `deadline_at`, which
    other processes see, are seconds since the epoch. Both the main thread and the pulse thread may
    end the run. The one that takes `end_lock` does, and never releases it, so a run ends once.
    """

    def __init__(
        self,
        reserved: Reserved,
        stats: JobStats,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = reserved.id
        self.body = reserved.body
        self.stats = stats
        self.queue = stats.queue
        self.clock = clock
        self.started_at = clock()
        self.started_monotonic = self.last_touched = monotonic()
        self.wait = float(stats.age)  # seconds from the put, or the end of its delay, to this run
        self.end_lock = threading.Lock()

    id: int  # beanstalkd numbers its jobs

    # Class attributes, because most runs never set them and __init__ runs for each job.
    envelope = EMPTY_ENVELOPE
    name = UNKNOWN_JOB
    deadline_at = grace = 0.0
    connection_problem = ""
    start_is_recorded = False  # in Redis; see `RunStarts`
    unstarted = 0  # earlier deliveries to workers that died before they ran the job
    tmpdir: Path | None = None
    # What the handler raised. No variable of the main thread's functions may refer to it: its
    # traceback has their frames, so both would wait for garbage collection.
    error: BaseException | None = None

    @property
    def source(self) -> JobSource:
        """Return what the job was put with."""
        return JobSource(self.body, self.stats.priority, self.stats.ttr)

    @property
    def uuid(self) -> str:
        """Return the id in the job's envelope; "" if it has none."""
        return self.envelope.id or ""

    @property
    def attempt(self) -> int:
        """Return the number of this run; 1 is the first.

        Deliveries without a run do not count, unless nobody knows which they are (Redis is away).
        """
        return self.stats.reserves - self.unstarted

    @property
    def identity(self) -> str:
        """Return the text from which follow-ups derive their ids; equal in all runs of the job."""
        return self.uuid or f"#{self.id}:{self.body.hex()}"  # no uuid begins with a `#`

    def set_envelope(self, envelope: Envelope) -> str:
        """Store the decoded body. Refine `wait` with the time of the put, if the body has it.

        That time is by the producer's clock, which may differ from ours. beanstalkd's `age` is
        right, but in whole seconds: so the result stays within that second. Returns why the time is
        ignored, if it is: it is far from that age.
        """
        self.envelope = envelope
        put_at, ignored = envelope.enqueued_at, ""
        if put_at is not None:
            age = self.stats.age
            wait = self.started_at - put_at
            if -MAX_CLOCK_ERROR < wait - age < MAX_CLOCK_ERROR:
                self.wait = min(max(age, wait), age + 1.0)
            else:
                ignored = (
                    "`enqueued_at` is more than a day from the time of the put, as beanstalkd "
                    "knows it: expected seconds since 1970"
                )
        if self.stats.reserves == 1:
            self.wait -= self.stats.delay
        self.wait = max(0.0, self.wait)
        return ignored

    def start(self, timeout: float, grace: float) -> None:
        """Set the deadlines of the run.

        JobTimeout is raised after `timeout` seconds. `grace` seconds later the worker ends the run.
        """
        self.deadline_at = self.started_at + timeout
        self.deadline = self.started_monotonic + timeout
        self.grace = grace
        self.hard_deadline = self.started_monotonic + timeout + grace
