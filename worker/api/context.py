"""The context that a handler receives together with its data."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api import envelope as envelopes
from beanwatch.worker.api.envelope import DEFAULT_PRIORITY, DEFAULT_TTR, Envelope, FollowUp

if TYPE_CHECKING:
    from beanwatch.worker.core.job import RunningJob

MAX_PROGRESS = 2**53  # larger numbers are not exact in every reader of JSON
MAX_NOTE = 200  # characters in the heartbeat


class ContextServices(NamedTuple):
    """The functions behind a Context; the same for all jobs of a worker."""

    make_log: Callable[["RunningJob"], FilteringBoundLogger]
    make_tmpdir: Callable[["RunningJob"], Path]
    touch: Callable[[], bool]
    put: Callable[["RunningJob", str, bytes, int, int, int], int]
    resource: Callable[[str], Any]


class Context:
    """One run of one job, as its handler sees it.

    The threads of a handler may use it too, but can put jobs only while this job runs.
    """

    def __init__(self, job: "RunningJob", services: ContextServices) -> None:
        self._job, self._services = job, services
        self._log: FilteringBoundLogger | None = None
        self._puts = itertools.count(1)  # counts also when several threads put

    @property
    def job(self) -> str:
        """The name of the job."""
        return self._job.name

    @property
    def envelope(self) -> Envelope:
        """The decoded body of the job."""
        return self._job.envelope

    @property
    def queue(self) -> str:
        """The queue from which the job came."""
        return self._job.queue

    @property
    def job_id(self) -> int:
        """beanstalkd's id of the job."""
        return self._job.id

    @property
    def attempt(self) -> int:
        """The number of this run; the first is 1."""
        return self._job.stats.reserves

    @property
    def deadline(self) -> float:
        """The time at which JobTimeout is raised, in seconds since the epoch."""
        return self._job.deadline_at

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that adds the job's name, ids and queue to each line."""
        if self._log is None:
            self._log = self._services.make_log(self._job)
        return self._log

    @property
    def tmpdir(self) -> Path:
        """A directory for this run alone, made at first use and removed after the run."""
        if self._job.tmpdir is None:
            self._job.tmpdir = self._services.make_tmpdir(self._job)
        return self._job.tmpdir

    def resource(self, name: str) -> Any:
        """The resource of this name, opened if needed. Raises LookupError for an unknown name."""
        return self._services.resource(name)

    def note(self, text: str) -> None:
        """Show in the heartbeat what the job is doing; cut to 200 characters."""
        # A file name may hold lone surrogates, which JSON cannot carry.
        self._job.note = str(text)[:MAX_NOTE].encode("utf-8", "backslashreplace").decode()

    def progress(self, done: int, total: int = 0) -> None:
        """Show in the heartbeat how far the job is: `done` of `total` (0: unknown)."""
        self._job.progress = (min(int(done), MAX_PROGRESS), min(int(total), MAX_PROGRESS))

    def touch(self) -> bool:
        """Start the job's time to run anew. False if that failed.

        The worker does this by itself every third of the TTR.
        """
        return self._services.touch()

    def put(
        self,
        queue: str,
        job: str,
        data: Any = None,
        *,
        priority: int = DEFAULT_PRIORITY,
        delay: int = 0,
        ttr: int = DEFAULT_TTR,
        success: FollowUp | None = None,
        failure: FollowUp | None = None,
    ) -> str:
        """Put another job now and return its envelope id. `delay` and `ttr` are whole seconds.

        The id is derived from this job's id and the number of the call. So the jobs that a second
        run puts again have the same ids as before, and can be recognised as duplicates.

        Raises EnvelopeError for wrong arguments, RefusedError if the server refuses the job or if
        this job has ended already, and ConnectionLostError.
        """
        new_id = envelopes.derive_id(self._job.identity, f"put:{next(self._puts)}")
        body = envelopes.encode(
            job,
            data,
            success=success,
            failure=failure,
            id=new_id,
            parent=self._job.uuid or None,
            enqueued_at=self._job.clock(),
        )
        envelopes.check_target(queue, priority, delay, ttr)
        self._services.put(self._job, queue, body, priority, delay, ttr)
        return new_id
