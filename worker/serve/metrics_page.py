"""MetricsPage: makes Prometheus's page of one worker."""

import threading
import time
from collections.abc import Callable

from beanwatch.store.heartbeats import Heartbeat
from beanwatch.store.run_totals import BOUNDS
from beanwatch.telemetry.prometheus import Page, labels, quote
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.monitor.sinks.run_counter import Kind, RunCounter
from beanwatch.worker.telemetry.host_watch import HostWatch


class MetricsPage:
    """Makes the page from counts that the worker has anyway, in any thread. Nothing can block it.

    `server` is the node of the queue server. `dropped` returns how many metric values and how many
    records could not be sent.
    """

    def __init__(
        self,
        server: str,
        identity: Heartbeat,
        state: WorkerState,
        connection: WorkerConnection,
        host: HostWatch,
        counter: RunCounter,
        dropped: Callable[[], tuple[int, int]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server, self._identity = server, identity
        self._state, self._connection, self._host = state, connection, host
        self._counter, self._dropped, self._clock = counter, dropped, clock
        self._lock, self._busy = threading.Lock(), 0.0

    def make(self) -> Page:
        """Return the page of this moment."""
        page, beat, state = Page(), self._identity, self._state
        own = labels(worker=f"{beat.host}.{beat.name}")
        versions = labels(version=beat.version, app_version=beat.app_version)
        metrics, records = self._dropped()
        for kind in self._counter.kinds():
            self._add_kind(page, kind)
        page.add("worker_info", f"{own},{versions}", 1)
        for name, value in (
            ("worker_start_time_seconds", round(beat.started_at, 3)),
            ("worker_ready", int(self._connection.is_open and state.is_running)),
            ("worker_busy_seconds_total", self._measure_busy()),
            ("worker_memory_bytes", self._host.rss),
            ("worker_reconnects_total", state.reconnects),
            ("worker_touches_total", state.touches),
            ("worker_errors_total", state.errors),
            ("worker_ignored_values_total", state.ignored_values),
            ("worker_dropped_metrics_total", metrics),
            ("worker_dropped_records_total", records),
        ):
            if value is not None:
                page.add(name, own, value)
        return page

    def _add_kind(self, page: Page, kind: Kind) -> None:
        counts = kind.counts
        own = labels(server=self._server, queue=kind.queue, job=kind.job)
        for outcome, runs in counts.outcomes.items():
            page.add("job_runs_total", f"{own},outcome={quote(outcome)}", runs)
        for name, buckets, seconds in (
            ("job_duration_seconds", counts.durations[:], counts.seconds),
            ("job_wait_seconds", counts.waits[:], counts.wait_seconds),
        ):
            page.add_histogram(name, own, BOUNDS, buckets, round(seconds, 6))

    def _measure_busy(self) -> float:
        """Return the seconds spent in jobs, with the running one.

        It never falls: the present time in a job is a little longer than what counts at its end.
        """
        state = self._state
        job = state.job
        busy = state.busy_seconds + (self._clock() - job.started_monotonic if job else 0.0)
        with self._lock:
            self._busy = max(self._busy, busy)
            return round(self._busy, 3)
