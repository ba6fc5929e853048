"""What a handler is given beside its data."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api import envelope as envelopes
from beanwatch.worker.api.envelope import PRIORITY, TTR, Envelope, FollowUp

if TYPE_CHECKING:
    from beanwatch.worker.core.job import Held

MAX_PROGRESS = 2**53  # what any reader of JSON can hold
MAX_NOTE = 200  # characters of a note that the heartbeat carries


class Means(NamedTuple):
    """What a context works with: the same for all jobs of a worker."""

    make_log: Callable[["Held"], FilteringBoundLogger]
    make_tmpdir: Callable[["Held"], Path]
    touch: Callable[[], bool]
    put: Callable[[str, bytes, int, int, int], int]
    resource: Callable[[str], Any]


class Context:
    """One run of one job, as its handler sees it."""

    def __init__(self, held: "Held", means: Means) -> None:
        self._held, self._means = held, means
        self._log: FilteringBoundLogger | None = None
        self._puts = itertools.count(1)  # counts also when several threads put

    @property
    def job(self) -> str:
        """The name of the job."""
        return self._held.name

    @property
    def envelope(self) -> Envelope:
        """The job as it was put."""
        return self._held.envelope

    @property
    def queue(self) -> str:
        """The queue that it came from."""
        return self._held.queue

    @property
    def job_id(self) -> int:
        """beanstalkd's id of the job."""
        return self._held.id

    @property
    def attempt(self) -> int:
        """1 for the first run."""
        return self._held.facts.reserves

    @property
    def deadline(self) -> float:
        """When JobTimeout is raised, in seconds since the epoch."""
        return self._held.deadline_at

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that carries the job's context."""
        if self._log is None:
            self._log = self._means.make_log(self._held)
        return self._log

    @property
    def tmpdir(self) -> Path:
        """A directory for this run alone, removed after it."""
        if self._held.tmpdir is None:
            self._held.tmpdir = self._means.make_tmpdir(self._held)
        return self._held.tmpdir

    def resource(self, name: str) -> Any:
        """What the application registered under this name, opened."""
        return self._means.resource(name)

    def note(self, text: str) -> None:
        """Say what the job is doing; the heartbeat shows it."""
        # A file's name may hold halves of surrogate pairs, which JSON cannot carry.
        self._held.note = str(text)[:MAX_NOTE].encode("utf-8", "backslashreplace").decode()

    def progress(self, done: int, total: int = 0) -> None:
        """Say how far the job has come; the heartbeat shows it."""
        self._held.progress = (min(int(done), MAX_PROGRESS), min(int(total), MAX_PROGRESS))

    def touch(self) -> bool:
        """Renew the job's time to run. The worker does so by itself; False if it could not."""
        return self._means.touch()

    def put(
        self,
        queue: str,
        job: str,
        data: Any = None,
        *,
        priority: int = PRIORITY,
        delay: int = 0,
        ttr: int = TTR,
        success: FollowUp | None = None,
        failure: FollowUp | None = None,
    ) -> str:
        """Put another job now and return its id. Raises EnvelopeError, RefusedError, SessionError.

        The id is derived from this job's and the number of the call, so that a second run
        of this job makes duplicates that can be told by their id.
        """
        new_id = envelopes.derive_id(self._held.identity, f"put:{next(self._puts)}")
        body = envelopes.encode(
            job,
            data,
            success=success,
            failure=failure,
            id=new_id,
            parent=self._held.uuid or None,
            enqueued_at=self._held.clock(),
        )
        envelopes.check_target(queue, priority, delay, ttr)
        self._means.put(queue, body, priority, delay, ttr)
        return new_id
