"""HeartbeatRecord: makes the worker's heartbeat record from its current state."""

import math
import time
from collections.abc import Callable

from beanwatch.store.heartbeats import Heartbeat
from beanwatch.store.run_totals import add_totals
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.guard.stacks import read_main_cpu
from beanwatch.worker.telemetry.host_watch import HostWatch
from beanwatch.worker.telemetry.run_counter import RunCounter


class HeartbeatRecord:
    """Makes the heartbeat records of this worker.

    `identity` is a record with the fields that never change (host, pid, queues and so on), and the
    runs of earlier instances: those that ended soon after the collector's last poll must not be
    lost.
    `current_line` returns the source line that the running handler is executing.
    """

    def __init__(
        self,
        identity: Heartbeat,
        state: WorkerState,
        host: HostWatch,
        current_line: Callable[[], str],
        counter: RunCounter,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.identity = identity
        self._state, self._host, self._current_line = state, host, current_line
        self._counter = counter
        self._clock, self._wall = clock, wall

    def make(self, exit_reason: str = "") -> Heartbeat:
        """Return the record of this moment. `exit_reason`: why the worker is failing, if it is."""
        worker = self._state
        job = worker.job
        state, reason = worker.state(job)
        # Convert all monotonic times with the same offset: the wall clock may be set at any time.
        now = self._wall()
        ahead = now - self._clock()
        ends_at = worker.shutdown_deadline
        heartbeat = self.identity._replace(
            state=state,
            reason=reason,
            is_disconnected=state == "blocked" and bool(worker.connection_error),
            loop_at=ahead + worker.loop_at,
            shutdown_deadline=0.0 if math.isinf(ends_at) else ahead + ends_at,
            beat_at=now,
            processed=worker.processed,
            failed=worker.failed,
            errors=worker.errors,
            ignored_values=worker.ignored_values,
            rss=self._host.rss,
            disk_free=self._host.disk_free,
            last_words=exit_reason,
            restart_refused=worker.restart_refused,
            totals=add_totals(self.identity.totals or (), self._counter.totals()),
        )
        if job is None:
            return heartbeat
        cpu = read_main_cpu()
        if job.cpu_before is None:
            job.cpu_before = cpu
        return heartbeat._replace(
            job=job.name,
            job_id=job.id,
            job_uuid=job.uuid,
            queue=job.queue,
            where=self._current_line(),
            note=job.note,
            progress=job.progress,
            job_started_at=ahead + job.started_monotonic,
            job_cpu=round(cpu - job.cpu_before, 3),
            deadline=ahead + job.hard_deadline - job.grace if job.hard_deadline else 0.0,
            hard_deadline=ahead + job.hard_deadline if job.hard_deadline else 0.0,
        )
