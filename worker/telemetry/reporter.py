"""Reporter: sends the worker's heartbeat and metrics once an interval, and its state to systemd."""

import time
from collections.abc import Callable, Sequence

from beanwatch.store.heartbeats import Heartbeat
from beanwatch.worker.monitor.heartbeat.heartbeat_record import HeartbeatRecord
from beanwatch.worker.monitor.heartbeat.heartbeat_reporter import Ending, HeartbeatReporter
from beanwatch.worker.monitor.runs import Sink
from beanwatch.worker.monitor.sinks.gauges import ProcessGauges
from beanwatch.worker.telemetry.host_watch import HostWatch
from beanwatch.worker.telemetry.systemd_status import SystemdStatus


class Reporter:
    """Sends all reports, in the pulse thread, which is the worker's background thread."""

    def __init__(
        self,
        host: HostWatch,
        record: HeartbeatRecord,
        heartbeat: HeartbeatReporter,
        gauges: ProcessGauges,
        systemd: SystemdStatus,
        sinks: Sequence[Sink],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._record, self._heartbeat = host, record, heartbeat
        self._gauges, self._systemd, self._sinks = gauges, systemd, sinks
        self._clock = clock
        self._next_at = 0.0

    def begin(self) -> None:
        """Check the host's limits and write the first heartbeat, before the first job is taken."""
        self._host.tick(self._clock())
        self._heartbeat.write(self.make_heartbeat())

    def tick(self, now: float) -> None:
        """Send all reports, if the interval has passed; `now` is the monotonic time in seconds.

        Otherwise report to systemd only: its watchdog does not wait for a long interval.
        """
        if now < self._next_at:
            self._systemd.report(self.make_heartbeat())
            return
        self._next_at = now + self._record.identity.interval - 0.01
        self._host.tick(now)
        heartbeat = self.make_heartbeat()
        self._systemd.report(heartbeat)
        self._heartbeat.write(heartbeat)
        for sink in self._sinks:
            sink.tick()
        self._gauges.tick(now)

    def make_heartbeat(self) -> Heartbeat:
        """Return the heartbeat record of this moment."""
        return self._record.make()

    def report_exit(self, failure: str, ending: Ending) -> bool:
        """Write to Redis why this process exits; see `HeartbeatReporter.report_exit`."""
        return self._heartbeat.report_exit(failure, ending)
