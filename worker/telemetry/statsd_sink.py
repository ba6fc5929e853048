"""Metrics to a StatsD daemon, through the statsd package's client and pipeline."""

import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from statsd import StatsClient
from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.net.dialer import Dialer
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry.metrics import RunSeries

FULL = 1432  # bytes: what an Ethernet frame has room for, with its headers
BATCH = 500  # timings in one pipeline: about twenty datagrams, of which only the last is not full
MAX_WAITING = 12_000  # timings kept until the daemon's name is resolved
RESOLVE_EVERY = 60.0  # seconds: the daemon's name may have moved to another address
WELL_AFTER = 3.0  # seconds without a refusal after which the daemon counts as back


class StatsdSink:
    """Sums counts, gathers timings, and sends them at each tick or when a batch is full.

    The client resolves names in its constructor and reports no errors. So the Dialer looks the
    name up in a thread and connects a socket there. The client is made for the address that the
    socket is connected to, and an empty datagram follows each batch over the socket: if nobody
    listens, the kernel says so on the socket, and the batch is counted as lost.
    """

    def __init__(
        self,
        address: Address,
        series: RunSeries,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
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
        self._failed_at = -WELL_AFTER
        self._dropped_before = 0
        self._dialer.poll()

    def gauge(self, name: str, value: float) -> None:
        """Set one of the worker's own series; 0 or more, as a negative one first sends 0."""
        with self._lock:
            self._gauges[name] = value

    def count(self, name: str, n: int = 1) -> None:
        """Add to one of the worker's own totals."""
        with self._lock:
            self._totals[name] += n

    def on_finished(self, run: Run) -> None:
        """Add a run; a full batch is sent at once."""
        counter, timings = self._series.counter(run), self._series.timings(run)
        with self._lock:
            self._counts[counter] += 1
            self._timings += timings
            if len(self._timings) >= BATCH:
                self._send(only_timings=True)

    def tick(self) -> None:
        """Send what was gathered."""
        with self._lock:
            self._connect()
            self._send()
        self._report()

    def close(self, timeout: float) -> None:
        """Send the rest within `timeout` seconds, and count what cannot be sent."""
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
        family, kind, proto, _, where = socket.getaddrinfo(
            self._address.host, self._address.port, type=socket.SOCK_DGRAM
        )[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.connect(where)
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect(self) -> None:
        """Use a new address when it is resolved; resolve the name now and then."""
        if self._client is not None and self._clock() - self._dialled_at < RESOLVE_EVERY:
            return
        fresh = self._dialer.poll()
        if fresh is None:
            return
        host, port = fresh.getpeername()[:2]
        is_ipv6 = fresh.family == socket.AF_INET6
        try:
            client = StatsClient(host, port, maxudpsize=FULL + 1, ipv6=is_ipv6)
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
        """Send what was gathered, if the address is known; else keep it, within bounds."""
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
        except OSError:  # no route, or an answer to the last batch that came just now
            self._count_loss()

    def _confirm(self) -> None:
        """See whether the kernel heard that nobody listens, after the last probe."""
        if self._probe is not None and self._probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._count_loss()
        self._unconfirmed = 0

    def _count_loss(self) -> None:
        self.dropped += self._unconfirmed
        self._unconfirmed = 0
        self._failed_at = self._clock()

    def _report(self) -> None:
        """Log when the daemon begins to fail, and when it has worked for a while again."""
        server = f"statsd {self._address}"
        if self._client is None and self._dialer.error:
            self._failed_at = self._clock()
        if self._clock() - self._failed_at < WELL_AFTER:
            self._problems.report(
                "statsd",
                "{server} takes no metrics; counting what is lost",
                server=server,
                lost=self.dropped,
            )
        elif self._client is not None:
            lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
            self._problems.clear("statsd", "{server} takes metrics again", server=server, lost=lost)


def make_sink(
    address: Address, series: RunSeries, log: FilteringBoundLogger, _interval: float
) -> StatsdSink:
    """The sink of `statsd://`. StatsD has a flush interval of its own."""
    return StatsdSink(address, series, log)
