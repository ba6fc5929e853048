"""Context: the object through which a handler uses its worker."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api import envelope as envelopes
from beanwatch.worker.api.envelope import DEFAULT_PRIORITY, DEFAULT_TTR, Envelope, FollowUp

if TYPE_CHECKING:
    from beanwatch.worker.core.job import RunningJob


class ContextServices(NamedTuple):
    """The worker's functions that a Context calls; all jobs of a worker share them."""

    make_log: Callable[["RunningJob"], FilteringBoundLogger]
    make_tmpdir: Callable[["RunningJob"], Path]
    touch: Callable[[], bool]
    put: Callable[["RunningJob", str, bytes, int, int, int], int]
    resource: Callable[[str], Any]


class Context:
    """The first argument of a handler: facts about the running job, and the worker's services.

    Threads that the handler starts may use it too, but can put jobs only while this job runs.
    """

    def __init__(self, job: "RunningJob", services: ContextServices) -> None:
        self._job, self._services = job, services
        self._log: FilteringBoundLogger | None = None
        self._puts = itertools.count(1)  # safe when several threads put at once

    @property
    def job(self) -> str:
        """The name of the job, under which its handler is registered."""
        return self._job.name

    @property
    def envelope(self) -> Envelope:
        """The decoded body of the job: its name, data, follow-ups and ids."""
        return self._job.envelope

    @property
    def queue(self) -> str:
        """The name of the queue from which the job was reserved."""
        return self._job.queue

    @property
    def job_id(self) -> int:
        """The id that beanstalkd gave the job; ids start again at 1 when beanstalkd restarts."""
        return self._job.id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1.

        It is how often the job was reserved (`reserves`), without deliveries that became no run.
        """
        return self._job.attempt

    @property
    def deadline(self) -> float:
        """The time at which JobTimeout is raised, in seconds since the epoch."""
        return self._job.deadline_at

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that adds the job's name, ids, queue and attempt to each line."""
        if self._log is None:
            self._log = self._services.make_log(self._job)
        return self._log

    @property
    def tmpdir(self) -> Path:
        """A temporary directory for this run only, created at first use, removed after the run."""
        if self._job.tmpdir is None:
            self._job.tmpdir = self._services.make_tmpdir(self._job)
        return self._job.tmpdir

    def resource(self, name: str) -> Any:
        """Return a registered resource; open it if needed. Raises LookupError for another name."""
        return self._services.resource(name)

    def note(self, text: str) -> None:
        """Set a text that the heartbeat shows while the job runs; cut to 200 characters."""
        self._job.set_note(text)

    def progress(self, done: int, total: int = 0) -> None:
        """Set the progress that the heartbeat shows: `done` of `total` steps (0: total unknown)."""
        self._job.set_progress(done, total)

    def touch(self) -> bool:
        """Reset the job's time to run (TTR) with a TOUCH; return False if that failed.

        The worker does this itself each time a third of the TTR has passed.
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

        The id is derived from this job's id and the number of the call. If the job is retried, the
        jobs that it puts again get the same ids, so duplicates can be recognised.

        Raises EnvelopeError for invalid arguments, RefusedError if the server refuses the job or
        if this job has already ended, and ConnectionLostError.
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
