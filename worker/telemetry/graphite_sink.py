"""Metrics straight to Graphite: summed in the process, sent once an interval as StatsD would."""

import math
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address, connect
from beanwatch.net.dialer import CONNECT_TIMEOUT
from beanwatch.net.errors import quote_answer
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry.metrics import Series, timers
from beanwatch.worker.telemetry.resending import Message, Outlet

PERCENTILES = (50, 95, 99)
SAMPLE = 10_000  # values kept of a timer in an interval; of more, a random choice
ANSWERS_WITHIN = 0.5  # seconds, whatever is no carbon
RESEND = 60.0  # seconds: a peer that died swallows what was sent last


class Timer:
    """The values of one timer in one interval, in milliseconds."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.largest = -math.inf
        self.values: list[float] = []

    def add(self, value: float) -> None:
        """Take one value in."""
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)
        if len(self.values) < SAMPLE:
            self.values.append(value)
        elif (place := random.randrange(self.count)) < SAMPLE:
            self.values[place] = value


def summarize(timer: Timer) -> dict[str, float]:
    """What StatsD makes of the same values, with its rounding of the percentiles' index."""
    values = sorted(timer.values)
    found = {
        "count": timer.count,
        "mean": timer.total / timer.count,
        "upper": timer.largest,
    }
    for percent in PERCENTILES:
        within = math.floor(percent / 100 * len(values) + 0.5)  # Math.round
        found[f"upper_{percent}"] = values[max(within, 1) - 1]
    return found


class _GraphiteOutlet(Outlet):
    """Carbon confirms nothing: what was sent in the last minute is sent again after a break.

    It says nothing at all, so what answers to a first point is something else.
    """

    def __init__(
        self, address: Address, first: Callable[[int], str], log: FilteringBoundLogger
    ) -> None:
        self._address, self._first = address, first
        super().__init__(f"graphite {address}", self._dial, log)

    def _dial(self) -> socket.socket:
        made = connect(self._address, CONNECT_TIMEOUT)
        try:
            made.sendall(self._first(self.dropped).encode())
            made.settimeout(ANSWERS_WITHIN)
            said = made.recv(40)
        except TimeoutError:
            return made
        except BaseException:
            made.close()
            raise
        made.close()
        raise OSError(
            f"this is no carbon, it answered {quote_answer(said)}"
            if said
            else "it closed the connection"
        )

    def _settle(self) -> None:
        now = self._clock()
        while self._sent and now - self._sent[0].sent_at > RESEND:
            self._drop_oldest_sent()


class GraphiteSink:
    """One point a series and interval, at times that are multiples of the interval.

    So no two points fall into one step of the storage, nor the first point of a worker into
    that of the last one of its predecessor: what the rest of the interval brings that it starts
    in belongs to the next. Nothing is sent for a counter or a timer that was idle.
    """

    def __init__(
        self,
        address: Address,
        series: Series,
        log: FilteringBoundLogger,
        *,
        interval: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._series = series
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._timers: dict[str, Timer] = {}
        self._gauges: dict[str, float] = {}
        self._totals: Counter[str] = Counter()
        self._since = clock()
        self._slot = int(self._since // interval) + 1
        self._outlet = _GraphiteOutlet(address, self._first, log)

    @property
    def dropped(self) -> int:
        """Points lost."""
        return self._outlet.dropped

    def gauge(self, name: str, value: float) -> None:
        """Set one of the worker's own series."""
        with self._lock:
            self._gauges[name] = value

    def count(self, name: str, n: int = 1) -> None:
        """Add to one of the worker's own totals."""
        with self._lock:
            self._totals[name] += n

    def on_finished(self, run: Run) -> None:
        """Take a run in."""
        stem = self._series.stem(run)
        with self._lock:
            self._counts[f"{stem}.{run.outcome}"] += 1
            for name in timers(run):
                path = f"{stem}.{name}"
                timer = self._timers.get(path)
                if timer is None:
                    timer = self._timers[path] = Timer()
                timer.add(getattr(run, name) * 1000)

    def tick(self) -> None:
        """At the end of an interval send its points; at any time what could not be sent before."""
        slot = int(self._clock() // self._interval)
        if slot > self._slot or slot < self._slot - 1:  # or the clock was set back
            self._summarize(slot)
            self._slot = slot
        self._outlet.flush()

    def close(self, timeout: float) -> None:
        """Send the points of the interval that has begun, under its end, and what is kept."""
        self._summarize(self._slot + 1)
        self._outlet.close(timeout)

    def _first(self, dropped: int) -> str:
        """The line of a point that is sent in any case, ended as any protocol's line may be."""
        when = int(self._slot * self._interval)
        return f"{self._series.own('dropped_metrics')} {dropped} {when}\r\n"

    def _summarize(self, slot: int) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            timers, self._timers = self._timers, {}
            own = {"dropped_metrics": self.dropped, **self._totals, **self._gauges}
        when = int(slot * self._interval)
        seconds = max(when - self._since, self._interval)
        self._since = when
        points: dict[str, float] = {}
        for path, n in counts.items():
            points[f"{path}.count"] = n
            points[f"{path}.rate"] = n / seconds
        for path, timer in timers.items():
            for stat, value in summarize(timer).items():
                points[f"{path}.{stat}"] = value
        for name, value in own.items():
            points[self._series.own(name)] = value
        lines = "".join(f"{path} {round(value, 6)} {when}\n" for path, value in points.items())
        self._outlet.write(Message(lines.encode("ascii", "replace"), weight=len(points)))
