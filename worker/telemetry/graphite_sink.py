"""Metrics straight to Graphite: summed in the process, sent once an interval as StatsD would."""

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from graphyte import Sender
from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry.graphite_delivery import Batch, GraphiteDelivery
from beanwatch.worker.telemetry.metrics import RunSeries

PERCENTILES = (50, 95, 99)
MAX_SAMPLE = 10_000  # values kept of a timer in an interval; of more, a random choice


class Timer:
    """The values of one timer in one interval, in milliseconds."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.largest = -math.inf
        self.values: list[float] = []

    def add(self, value: float) -> None:
        """Add one value."""
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)
        if len(self.values) < MAX_SAMPLE:
            self.values.append(value)
        elif (place := random.randrange(self.count)) < MAX_SAMPLE:
            self.values[place] = value


def summarize(timer: Timer) -> dict[str, float]:
    """The statistics that StatsD makes of the same values; it rounds the index of a percentile."""
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


class GraphiteSink:
    """Sends one point per series and interval, at times that are multiples of the interval.

    A storage step keeps one point per series. A worker's first interval began before it started,
    so what it does in the rest of it is added to the next one: it never overwrites the last point
    of its predecessor. A counter or timer that was idle for an interval has no point.

    graphyte formats and sends the points; `GraphiteDelivery` runs it in a thread.
    """

    def __init__(
        self,
        address: Address,
        series: RunSeries,
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
        self._format = Sender(address.host, address.port).build_message
        self._dropped_series = series.own("dropped_metrics")
        self._delivery = GraphiteDelivery(address, self._make_first_line, log)

    @property
    def dropped(self) -> int:
        """Points lost."""
        return self._delivery.dropped

    def gauge(self, name: str, value: float) -> None:
        """Set one of the worker's own series."""
        with self._lock:
            self._gauges[name] = value

    def count(self, name: str, n: int = 1) -> None:
        """Add to one of the worker's own totals."""
        with self._lock:
            self._totals[name] += n

    def on_finished(self, run: Run) -> None:
        """Add a run to the current interval."""
        counter, timings = self._series.counter(run), self._series.timings(run)
        with self._lock:
            self._counts[counter] += 1
            for path, milliseconds in timings:
                timer = self._timers.get(path)
                if timer is None:
                    timer = self._timers[path] = Timer()
                timer.add(milliseconds)

    def tick(self) -> None:
        """At the end of an interval hand its points over."""
        slot = int(self._clock() // self._interval)
        if slot > self._slot or slot < self._slot - 1:  # or the clock was set back
            self._summarize(slot)
            self._slot = slot

    def close(self, timeout: float) -> None:
        """Send the points of the current interval, under its end, and what waits."""
        self._summarize(self._slot + 1)
        self._delivery.close(timeout)

    def _make_first_line(self, dropped: int) -> bytes:
        """A point that goes first over a new connection.

        It ends with CR LF, so that a server of another protocol sees a line and answers.
        """
        line: bytes = self._format(self._dropped_series, dropped, self._slot * self._interval)
        return line.rstrip(b"\n") + b"\r\n"

    def _summarize(self, slot: int) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            timers, self._timers = self._timers, {}
            own = {**self._totals, **self._gauges}
        when = slot * self._interval
        seconds = max(when - self._since, self._interval)
        self._since = when
        points: dict[str, float] = {self._dropped_series: self.dropped}
        for path, n in counts.items():
            points[f"{path}.count"] = n
            points[f"{path}.rate"] = n / seconds
        for path, timer in timers.items():
            for stat, value in summarize(timer).items():
                points[f"{path}.{stat}"] = value
        for name, value in own.items():
            points[self._series.own(name)] = value
        lines = [self._format(path, round(value, 6), when) for path, value in points.items()]
        self._delivery.put(Batch(b"".join(lines), len(points)))


def make_sink(
    address: Address, series: RunSeries, log: FilteringBoundLogger, interval: float
) -> GraphiteSink:
    """The sink of `graphite://`, with a point for each `interval` (seconds)."""
    return GraphiteSink(address, series, log, interval=interval)
