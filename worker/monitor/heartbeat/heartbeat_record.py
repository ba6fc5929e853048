"""HeartbeatRecord: makes the heartbeat record of this process from its current state."""

import math
import time
from collections.abc import Callable, Sequence
from heapq import nsmallest
from typing import NamedTuple, Protocol

from beanwatch.store.heartbeats import MAX_JOBS, Heartbeat
from beanwatch.store.run_totals import add_totals
from beanwatch.worker.monitor.jobs import ObservedJob, make_job_records
from beanwatch.worker.monitor.sinks.run_counter import RunCounter


class Activity(NamedTuple):
    """The activity of a process: its jobs, and the fields of its record with these names."""

    jobs: Sequence[ObservedJob]
    state: str
    reason: str
    is_disconnected: bool


class ProcessState(Protocol):
    """The present state of a process. Times are monotonic; infinity means none."""

    @property
    def loop_at(self) -> float: ...
    @property
    def shutdown_deadline(self) -> float: ...
    @property
    def processed(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def busy_seconds(self) -> float: ...  # spent in jobs that have ended
    @property
    def errors(self) -> int: ...
    @property
    def ignored_values(self) -> int | None: ...
    @property
    def restart_refused(self) -> str: ...

    def activity(self) -> Activity:
        """Return what the process does at this moment."""


class HostFacts(Protocol):
    """Measurements of the process and its host."""

    @property
    def rss(self) -> int | None: ...
    @property
    def cpu(self) -> float | None: ...
    @property
    def disk_free(self) -> int | None: ...


class HeartbeatRecord:
    """Makes the heartbeat records of this process.

    `identity` is a record with the fields that never change (host, pid, queues and so on), and the
    runs of earlier instances: those that ended soon after the collector's last poll must not be
    lost.
    """

    def __init__(
        self,
        identity: Heartbeat,
        state: ProcessState,
        host: HostFacts,
        counter: RunCounter,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.identity = identity
        self._state, self._host, self._counter = state, host, counter
        self._clock, self._wall = clock, wall

    def make(self, exit_reason: str = "") -> Heartbeat:
        """Return the record of this moment. `exit_reason`: why the worker is failing, if it is."""
        process = self._state
        activity = process.activity()
        # Convert all monotonic times with the same offset: the wall clock may be set at any time.
        now = self._wall()
        ahead = now - self._clock()
        ends_at = process.shutdown_deadline
        return self.identity._replace(
            state=activity.state,
            reason=activity.reason,
            is_disconnected=activity.is_disconnected,
            jobs=make_job_records(most_urgent(activity.jobs), ahead),
            loop_at=ahead + process.loop_at,
            shutdown_deadline=0.0 if math.isinf(ends_at) else ahead + ends_at,
            beat_at=now,
            processed=process.processed,
            failed=process.failed,
            errors=process.errors,
            ignored_values=process.ignored_values,
            rss=self._host.rss,
            cpu=self._host.cpu,
            disk_free=self._host.disk_free,
            last_words=exit_reason,
            restart_refused=process.restart_refused,
            totals=add_totals(self.identity.totals or (), self._counter.totals()),
        )


def most_urgent(jobs: Sequence[ObservedJob]) -> Sequence[ObservedJob]:
    """Return at most MAX_JOBS jobs, as no reader takes more.

    Those with the earliest deadlines come first, so late ones do. Then those without a deadline
    follow, the oldest first.
    """
    if len(jobs) <= MAX_JOBS:
        return jobs
    return nsmallest(MAX_JOBS, jobs, lambda job: (job.deadline or math.inf, job.started_monotonic))
