"""Make the heartbeat record from what the worker's threads know."""

import time
from collections.abc import Callable

from beanwatch.store.heartbeats import Heartbeat
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.guard.stacks import read_main_cpu
from beanwatch.worker.telemetry.host_watch import HostWatch


class HeartbeatRecord:
    """`identity` is the part of the record that does not change.

    `where` returns the line that the running handler is at.
    """

    def __init__(
        self,
        identity: Heartbeat,
        state: WorkerState,
        host: HostWatch,
        where: Callable[[], str],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.identity = identity
        self._state, self._host, self._where = state, host, where
        self._clock, self._wall = clock, wall

    def make(self, last_words: str = "") -> Heartbeat:
        """The record as of now."""
        worker = self._state
        held = worker.job
        state, reason = worker.state(held)
        # Convert all monotonic times by one offset: the wall clock may jump between two readings.
        now = self._wall()
        ahead = now - self._clock()
        beat = self.identity._replace(
            state=state,
            reason=reason,
            loop_at=ahead + worker.loop_at,
            beat_at=now,
            processed=worker.processed,
            failed=worker.failed,
            errors=worker.errors,
            rss=self._host.rss,
            disk_free=self._host.disk_free,
            last_words=last_words,
        )
        if held is None:
            return beat
        cpu = read_main_cpu()
        if held.cpu_before is None:
            held.cpu_before = cpu
        return beat._replace(
            job=held.name,
            job_id=held.id,
            job_uuid=held.uuid,
            queue=held.queue,
            where=self._where(),
            note=held.note,
            progress=held.progress,
            job_started_at=ahead + held.began,
            job_cpu=round(cpu - held.cpu_before, 3),
            deadline=ahead + held.hard_deadline - held.grace if held.hard_deadline else 0.0,
            hard_deadline=ahead + held.hard_deadline if held.hard_deadline else 0.0,
        )
