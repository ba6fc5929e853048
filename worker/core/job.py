"""The job in hand: what the threads of a worker know of it while it runs."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from beanwatch.worker.api.envelope import Envelope
from beanwatch.worker.core.connection import Reserved
from beanwatch.worker.core.decide import Facts

UNKNOWN = "unknown"  # the name of a job that no handler is registered for
UNREAD = Envelope(UNKNOWN)


class Held:
    """One run of one job. Spans by the monotonic clock, what others see by the wall clock.

    `ending` is taken by the thread that ends the run, the main thread or the pulse, so that
    there is one end only.
    """

    def __init__(
        self,
        reserved: Reserved,
        facts: Facts,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = reserved.id
        self.body = reserved.body
        self.facts = facts
        self.queue = facts.queue
        self.clock = clock
        self.started_at = clock()
        self.began = self.touched = monotonic()
        self.wait = float(facts.age)
        self.ending = threading.Lock()

    # What most runs never change.
    envelope = UNREAD
    name = UNKNOWN
    deadline_at = grace = 0.0
    hard = 0.0  # monotonic; 0 while the handler does not run
    trouble = ""  # what beanstalkd does about it
    note = ""
    progress: tuple[int, ...] = ()
    tmpdir: Path | None = None
    cpu_before: float | None = None  # used by the main thread at the run's first heartbeat

    @property
    def uuid(self) -> str:
        """The envelope's id, or empty."""
        return self.envelope.id or ""

    @property
    def identity(self) -> str:
        """What the ids of follow-ups are derived from: the same in each run of the job."""
        return self.uuid or f"{self.id}:{self.body.hex()}"

    def read(self, envelope: Envelope) -> None:
        """Take in what the body says."""
        self.envelope = envelope
        put_at = envelope.enqueued_at
        if put_at is not None:
            self.wait = self.started_at - put_at
        if self.facts.reserves == 1:
            self.wait -= self.facts.delay
        self.wait = max(0.0, self.wait)

    def start(self, timeout: float, grace: float) -> None:
        """The handler starts now."""
        self.deadline_at = self.started_at + timeout
        self.grace = grace
        self.hard = self.began + timeout + grace
