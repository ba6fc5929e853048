"""StatsdSink: sends a worker's metrics to a StatsD daemon with the statsd package."""

import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from statsd import StatsClient
from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address, resolve
from beanwatch.net.dialer import CONNECT_TIMEOUT, Dialer
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.metrics import RunSeries

MAX_DATAGRAM = 1432  # bytes of data that fit into one Ethernet frame
BATCH_TIMINGS = 500  # timings sent at once: about 20 datagrams, and only the last is not full
MAX_WAITING = 12_000  # timings kept while the daemon's name is not resolved
RESOLVE_EVERY = 60.0  # seconds between two name lookups: the daemon's address may change
RECOVERED_AFTER = 3.0  # seconds without an error after which the daemon counts as working


class StatsdSink:
    """Sums counts, collects timings, and sends them at each tick or when a batch is full.

    statsd's client resolves the host name in its constructor, which may block, and reports no
    errors. So the Dialer resolves the name in a thread and connects a UDP socket, the probe. The
    client gets the probe's IP address. After each batch, an empty datagram is sent over the probe:
    if nothing listens on the port, the kernel reports an error on this socket, and the batch is
    counted as lost.
    """

    def __init__(
        self,
        address: Address,
        series: RunSeries,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0  # values lost so far
        self._address = address
        self._series = series
        self._problems = ProblemLog(log)
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._timings: deque[tuple[str, float]] = deque()  # milliseconds
        self._gauges: dict[str, float] = {}
        self._totals: Counter[str] = Counter()
        self._dialer = Dialer(self._dial, clock=clock)
        self._dialled_at = clock()
        self._client: StatsClient | None = None
        self._probe: socket.socket | None = None
        self._unconfirmed = 0  # values sent before the last probe
        self._failed_at = -RECOVERED_AFTER
        self._dropped_before = 0
        self._dialer.poll()

    def gauge(self, name: str, value: float) -> None:
        """Set one of the worker's series to 0 or more: StatsD would read `-1` as a decrement."""
        with self._lock:
            self._gauges[name] = value

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to one of the counters that describe the worker itself."""
        with self._lock:
            self._totals[name] += n

    def on_finished(self, run: Run) -> None:
        """Add a run's count, duration and wait; if the batch is full, send its timings now."""
        counter, timings = self._series.counter(run), self._series.timings(run)
        with self._lock:
            self._counts[counter] += 1
            self._timings += timings
            if len(self._timings) >= BATCH_TIMINGS:
                self._send(only_timings=True)

    def tick(self) -> None:
        """Send all counts, timings and gauges that were collected."""
        with self._lock:
            self._connect()
            self._send()
        self._report()

    def close(self, timeout: float) -> None:
        """Send the rest within `timeout` seconds, and count what cannot be sent as dropped."""
        end = self._clock() + timeout
        self.tick()
        while self._client is None and self._clock() < end:
            time.sleep(0.005)
            with self._lock:
                self._connect()
                self._send()
        self._dialer.close()
        with self._lock:
            self._confirm()
            self._disconnect()
            self.dropped += len(self._timings) + len(self._counts)
            self._timings.clear()
            self._counts.clear()

    def _dial(self) -> socket.socket:
        family, where = resolve(self._address.host, self._address.port, CONNECT_TIMEOUT)[0]
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.connect(where)
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect(self) -> None:
        """Make a client when the name is resolved; resolve it again every RESOLVE_EVERY seconds."""
        if self._client is not None and self._clock() - self._dialled_at < RESOLVE_EVERY:
            return
        fresh = self._dialer.poll()
        if fresh is None:
            return
        host, port = fresh.getpeername()[:2]
        is_ipv6 = fresh.family == socket.AF_INET6
        try:
            client = StatsClient(host, port, maxudpsize=MAX_DATAGRAM + 1, ipv6=is_ipv6)
        except OSError:  # no more file descriptors
            fresh.close()
            return
        self._confirm()
        self._disconnect()
        self._client, self._probe, self._dialled_at = client, fresh, self._clock()

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def _send(self, *, only_timings: bool = False) -> None:
        """Send all that was collected. If the address is unknown, keep it, up to MAX_WAITING."""
        if self._client is None:
            while len(self._timings) > MAX_WAITING:
                self._timings.popleft()
                self.dropped += 1
            return
        self._confirm()
        own: dict[str, float] = {}
        counts: Counter[str] = Counter()
        if not only_timings:
            own = {"dropped_metrics": self.dropped, **self._totals, **self._gauges}
            counts, self._counts = self._counts, counts
        self._unconfirmed = len(own) + len(counts) + len(self._timings)
        with self._client.pipeline() as pipeline:
            for path, milliseconds in self._timings:
                pipeline.timing(path, milliseconds)
            for name, value in own.items():
                pipeline.gauge(self._series.own(name), value)
            for path, n in counts.items():
                pipeline.incr(path, n)
        self._timings.clear()
        try:
            if self._probe is not None:
                self._probe.send(b"")
        except OSError:  # no route, or the kernel has just reported an error for the last batch
            self._count_loss()

    def _confirm(self) -> None:
        """Count the last batch as lost if the kernel has reported an error since its probe."""
        if self._probe is not None and self._probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._count_loss()
        self._unconfirmed = 0

    def _count_loss(self) -> None:
        self.dropped += self._unconfirmed
        self._unconfirmed = 0
        self._failed_at = self._clock()

    def _report(self) -> None:
        """Log when sending begins to fail, and when it has worked for RECOVERED_AFTER seconds."""
        server = f"statsd {self._address}"
        if self._client is None and self._dialer.error:
            self._failed_at = self._clock()
        if self._clock() - self._failed_at < RECOVERED_AFTER:
            self._problems.report(
                "statsd",
                "cannot send metrics to {server}: {reason}; lost values are counted",
                server=server,
                reason=self._dialer.error or "the host or port rejects datagrams",
                lost=self.dropped,
            )
        elif self._client is not None:
            lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
            self._problems.clear(
                "statsd",
                "sending metrics to {server} again, values lost: {lost}",
                server=server,
                lost=lost,
            )


def make_sink(
    address: Address, series: RunSeries, log: FilteringBoundLogger, _interval: float
) -> StatsdSink:
    """Make the sink for `statsd://`. The interval is not used: StatsD decides when it flushes."""
    return StatsdSink(address, series, log)
