"""WorkerGauges: metrics of the worker process, such as its memory and its share of busy time."""

import time
from collections.abc import Callable

from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.monitor.metrics import Metrics
from beanwatch.worker.telemetry.host_watch import HostWatch

INTERVAL = 10.0  # seconds between two measurements; StatsD flushes as often


class WorkerGauges:
    """Sends the worker's share of busy time, memory, reconnects and touches every 10 seconds.

    The series are those of `beanwatch.telemetry.series.WORKER`.
    """

    def __init__(
        self,
        metrics: Metrics,
        state: WorkerState,
        host: HostWatch,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._state, self._host = metrics, state, host
        self._next_at = 0.0
        self._measured_at = clock()
        self._busy = 0.0  # total seconds spent in jobs until `_measured_at`
        self._reconnects = self._touches = 0  # the totals that were sent already

    def tick(self, now: float) -> None:
        """Measure and send, if the interval has passed; `now` is the monotonic time in seconds."""
        if now < self._next_at:
            return
        self._next_at = now + INTERVAL - 0.01
        state = self._state
        job = state.job
        busy = state.busy_seconds + (now - job.started_monotonic if job else 0.0)
        if now > self._measured_at:
            share = (busy - self._busy) / (now - self._measured_at)
            self._metrics.gauge("busy", min(1.0, max(0.0, share)))
        self._measured_at, self._busy = now, busy
        if self._host.rss is not None:
            self._metrics.gauge("rss", self._host.rss)
        reconnects, touches = state.reconnects, state.touches
        self._metrics.count("reconnects", reconnects - self._reconnects)
        self._metrics.count("touches", touches - self._touches)
        self._reconnects, self._touches = reconnects, touches
