"""ProcessGauges: metrics of a worker process, such as its memory and its share of busy time."""

import math
import time
from collections.abc import Callable, Mapping

from beanwatch.worker.monitor.heartbeat.heartbeat_record import HostFacts, ProcessState
from beanwatch.worker.monitor.sinks.metrics import Metrics

INTERVAL = 10.0  # seconds between two measurements; StatsD flushes as often


class ProcessGauges:
    """Sends how busy the process is, its memory and its own counters every 10 seconds.

    The series are those of `beanwatch.telemetry.series.WORKER`. `counters` returns totals by name.
    `capacity` is how many jobs the process can run at once.
    """

    def __init__(
        self,
        metrics: Metrics,
        state: ProcessState,
        host: HostFacts,
        counters: Callable[[], Mapping[str, int]] = dict,
        *,
        capacity: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._state, self._host = metrics, state, host
        self._counters, self._capacity = counters, capacity
        self._next_at = 0.0
        self._measured_at = clock()
        self._busy = 0.0  # total seconds spent in jobs until `_measured_at`
        self._sent: Mapping[str, int] = {}  # the totals that were sent already

    def tick(self, now: float) -> None:
        """Measure and send, if the interval has passed; `now` is the monotonic time in seconds."""
        if now < self._next_at:
            return
        self._next_at = now + INTERVAL - 0.01
        state = self._state
        running = sum(max(0.0, now - job.started_monotonic) for job in state.activity().jobs)
        busy = state.busy_seconds + running
        if now > self._measured_at:
            share = (busy - self._busy) / (now - self._measured_at)
            self._metrics.gauge("busy", min(self._capacity, max(0.0, share)))
        self._measured_at, self._busy = now, busy
        if self._host.rss is not None:
            self._metrics.gauge("rss", self._host.rss)
        totals = self._counters()
        for name, total in totals.items():
            self._metrics.count(name, total - self._sent.get(name, 0))
        self._sent = totals
