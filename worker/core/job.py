"""A job that this worker runs, as its threads see it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from beanwatch.worker.api.envelope import Envelope
from beanwatch.worker.core.connection_protocol import JobStats, Reserved

UNKNOWN = "unknown"  # the name of a job for which no handler is registered
EMPTY_ENVELOPE = Envelope(UNKNOWN)


class RunningJob:
    """One run of one job.

    Durations and deadlines use the monotonic clock; what other processes see uses the wall clock.
    The thread that ends the run, the main thread or the pulse, takes `end_lock` and keeps it, so
    that a run ends once.
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
        self.began = self.last_touched = monotonic()
        self.wait = float(stats.age)  # seconds from the put, or the end of its delay, to the run
        self.end_lock = threading.Lock()

    # Class attributes, because most runs never change them.
    envelope = EMPTY_ENVELOPE
    name = UNKNOWN
    deadline_at = grace = 0.0
    hard_deadline = 0.0  # monotonic; 0 while the handler does not run
    connection_problem = ""
    note = ""
    progress: tuple[int, ...] = ()
    tmpdir: Path | None = None
    cpu_before: float | None = None  # the main thread's CPU time at the run's first heartbeat

    @property
    def uuid(self) -> str:
        """The envelope's id, or ""."""
        return self.envelope.id or ""

    @property
    def identity(self) -> str:
        """The text from which follow-ups derive their ids; the same in each run of the job."""
        return self.uuid or f"{self.id}:{self.body.hex()}"

    def set_envelope(self, envelope: Envelope) -> None:
        """Take the decoded body, and with it the time of the put."""
        self.envelope = envelope
        put_at = envelope.enqueued_at
        if put_at is not None:
            self.wait = self.started_at - put_at
        if self.stats.reserves == 1:
            self.wait -= self.stats.delay
        self.wait = max(0.0, self.wait)

    def start(self, timeout: float, grace: float) -> None:
        """Set the deadlines: JobTimeout after `timeout` seconds, the end `grace` seconds later."""
        self.deadline_at = self.started_at + timeout
        self.grace = grace
        self.hard_deadline = self.began + timeout + grace
