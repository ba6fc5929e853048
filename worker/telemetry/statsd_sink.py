"""Metrics to a StatsD daemon: the statsd package's lines, in few and full datagrams."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from statsd.client.base import StatsClientBase
from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.net.dialer import Dialer
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry.metrics import Series, timers

FULL = 1432  # bytes: what an Ethernet frame has room for, with its headers
WAITING = 500  # datagrams kept until the name of the daemon is known
RESOLVE_EVERY = 60.0  # seconds; the daemon's name may have moved to another address


# Queue, job, outcome, and whether it is the first attempt.
Kind = tuple[str, str, str, bool]


class _Lines(StatsClientBase):  # type: ignore[misc]  # the package has no types
    """The package's client, giving its lines to a function instead of a socket.

    Its own client looks the name up once, in the constructor, and sends a datagram a line.
    """

    def __init__(self, take: Callable[[str], None]) -> None:
        self._prefix = None
        self._send = take


class StatsdSink:
    """Sums counters and gathers timings, and sends them when a datagram is full or at a tick."""

    def __init__(
        self,
        address: Address,
        series: Series,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._address = address
        self._series = series
        self._log = log
        self._clock = clock
        self._lines = _Lines(self._add)
        self._lock = threading.Lock()
        self._forms: dict[Kind, tuple[str, str]] = {}
        self._counts: Counter[str] = Counter()
        self._gauges: dict[str, float] = {}
        self._totals: Counter[str] = Counter()
        self._batch: list[str] = []
        self._size = 0
        self._waiting: list[bytes] = []
        self._last_sent = 0  # lines in the datagram that went out last
        self._socket: socket.socket | None = None
        self._dialer = Dialer(self._dial, clock=clock)
        self._dialled_at = clock()
        self._failing = False
        self._dialer.poll()

    def gauge(self, name: str, value: float) -> None:
        """Set one of the worker's own series."""
        with self._lock:
            self._gauges[name] = value

    def count(self, name: str, n: int = 1) -> None:
        """Add to one of the worker's own totals."""
        with self._lock:
            self._totals[name] += n

    def on_finished(self, run: Run) -> None:
        """Take a run in; a full datagram leaves at once."""
        kind = (run.queue, run.job, run.outcome, run.attempt == 1)
        counter, form = self._forms.get(kind) or self._make_form(kind, run)
        with self._lock:
            self._counts[counter] += 1
            if form:
                self._add(form % {"duration": run.duration * 1000, "wait": run.wait * 1000})

    def tick(self) -> None:
        """Send what was gathered."""
        with self._lock:
            self._redial()
            own = {"dropped_metrics": self.dropped, **self._totals, **self._gauges}
            for name, value in own.items():
                self._lines.gauge(self._series.own(name), value)
            for name, n in self._counts.items():
                self._lines.incr(name, n)
            self._counts.clear()
            self._ship()
            self._send_waiting()
            news, lost = self._news()
        if news:
            self._log.warning(news, server=f"statsd {self._address}", lost=lost)

    def close(self, timeout: float) -> None:
        """Send the rest."""
        end = self._clock() + timeout
        self.tick()
        while self._waiting and self._clock() < end:
            time.sleep(0.005)
            with self._lock:
                self._redial()
                self._send_waiting()
        self._dialer.close()
        with self._lock:
            self.dropped += sum(map(_count_lines, self._waiting))
            self._waiting.clear()
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _make_form(self, kind: Kind, run: Run) -> tuple[str, str]:
        """The counter of such runs, and the lines of their timers, as the package writes them."""
        stem = self._series.stem(run)
        path = stem.replace("%", "%%")
        form = "\n".join(f"{path}.{timer}:%({timer}).6f|ms" for timer in timers(run))
        self._forms[kind] = made = f"{stem}.{run.outcome}", form
        return made

    def _dial(self) -> socket.socket:
        family, kind, proto, _, where = socket.getaddrinfo(
            self._address.host, self._address.port, type=socket.SOCK_DGRAM
        )[0]
        sock = socket.socket(family, kind, proto)
        try:
            # Connected, so that the kernel tells when nobody listens there.
            sock.connect(where)
        except BaseException:
            sock.close()
            raise
        return sock

    def _redial(self) -> None:
        if self._socket is not None and self._clock() - self._dialled_at < RESOLVE_EVERY:
            return
        fresh = self._dialer.poll()
        if fresh is not None:
            if self._socket is not None:
                self._socket.close()
            self._socket = fresh
            self._dialled_at = self._clock()

    def _add(self, line: str) -> None:
        size = len(line) + 1
        if self._size + size > FULL:
            self._ship()
        self._batch.append(line)
        self._size += size

    def _ship(self) -> None:
        """Close the datagram at hand, and send it where there is a socket."""
        if not self._batch:
            return
        datagram = "\n".join(self._batch).encode("ascii", "replace")
        self._batch, self._size = [], 0
        if self._socket is not None and not self._waiting:
            self._send(datagram)
        else:
            self._waiting.append(datagram)
            while len(self._waiting) > WAITING:
                self.dropped += _count_lines(self._waiting.pop(0))

    def _send_waiting(self) -> None:
        if self._socket is not None:
            waiting, self._waiting = self._waiting, []
            for datagram in waiting:
                self._send(datagram)

    def _send(self, datagram: bytes) -> None:
        lines = _count_lines(datagram)
        for is_retry in (False, True):
            try:
                if self._socket is not None:
                    self._socket.send(datagram)
                self._last_sent = lines
                return
            except ConnectionRefusedError:
                # This tells of the datagram before; the one at hand has not been sent.
                self.dropped += lines if is_retry else self._last_sent
                self._last_sent = 0
                self._failing = True
            except OSError:
                self.dropped += lines
                self._failing = True
                return

    _told = False
    _dropped_before = 0
    _failed_at = 0.0

    def _news(self) -> tuple[str, int]:
        """What to log, once when it begins to fail and once when it has worked for a while."""
        failing, self._failing = self._failing, False
        now = self._clock()
        if failing or (self._socket is None and self._dialer.error):
            self._failed_at = now
            if not self._told:
                self._told = True
                return "{server} takes no metrics; counting what is lost", self.dropped
        elif self._told and now - self._failed_at > 3.0 and self._socket is not None:
            self._told = False
            lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
            return "{server} takes metrics again", lost
        return "", 0


def _count_lines(datagram: bytes) -> int:
    return datagram.count(b"\n") + 1
