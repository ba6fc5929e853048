"""GraphiteSink: sums a worker's metrics and sends them directly to Graphite, without StatsD."""

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from graphyte import Sender
from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.graphite_delivery import Batch, GraphiteDelivery
from beanwatch.worker.monitor.sinks.metrics import RunSeries

PERCENTILES = (50, 95, 99)
MAX_SAMPLE = 10_000  # values of a timer kept in one interval; of more, a random sample


class Timer:
    """The values of one timer in one interval, in milliseconds, for `summarize`."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.largest = -math.inf
        self.values: list[float] = []

    def add(self, value: float) -> None:
        """Add one value. Beyond MAX_SAMPLE values, `values` is a uniform random sample."""
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)
        if len(self.values) < MAX_SAMPLE:
            self.values.append(value)
        elif (place := random.randrange(self.count)) < MAX_SAMPLE:
            self.values[place] = value


def summarize(timer: Timer) -> dict[str, float]:
    """Return a timer's statistics by name, in milliseconds, equal to StatsD's for the same values.

    `upper` is the maximum, `upper_95` the 95th percentile. Like StatsD, round the index of a
    percentile. `timer` has at least one value.
    """
    values = sorted(timer.values)
    found = {
        "count": timer.count,
        "mean": timer.total / timer.count,
        "upper": timer.largest,
    }
    for percent in PERCENTILES:
        within = math.floor(percent / 100 * len(values) + 0.5)  # as StatsD's Math.round
        found[f"upper_{percent}"] = values[max(within, 1) - 1]
    return found


class GraphiteSink:
    """Sends one point per series and interval, at times that are multiples of the interval.

    Graphite stores one point per series and step. A worker's first interval is incomplete, and the
    worker's previous instance may have sent a point for it. So the first interval is added to the
    second one. A counter or timer that was idle in an interval has no point.

    `interval` is in seconds. graphyte formats and sends the points; `GraphiteDelivery` calls it in
    a thread.
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
        """The number of points that could not be sent."""
        return self._delivery.dropped

    def gauge(self, name: str, value: float) -> None:
        """Set one of the series that describe the worker itself; see `Metrics.gauge`."""
        with self._lock:
            self._gauges[name] = value

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to one of the counters that describe the worker itself."""
        with self._lock:
            self._totals[name] += n

    def on_finished(self, run: Run) -> None:
        """Add a run's count, duration and wait to the current interval."""
        counter, timings = self._series.counter(run), self._series.timings(run)
        with self._lock:
            self._counts[counter] += 1
            for path, milliseconds in timings:
                timer = self._timers.get(path)
                if timer is None:
                    timer = self._timers[path] = Timer()
                timer.add(milliseconds)

    def tick(self) -> None:
        """If the interval has ended, queue its points for sending."""
        slot = int(self._clock() // self._interval)
        if slot > self._slot or slot < self._slot - 1:  # or the clock was set back
            self._summarize(slot)
            self._slot = slot

    def close(self, timeout: float) -> None:
        """Send all points within `timeout` seconds; stamp new ones with the end of the interval."""
        self._summarize(self._slot + 1)
        self._delivery.close(timeout)

    def _make_first_line(self, dropped: int) -> bytes:
        """Return the first line to send on a new connection: a value of `dropped_metrics`.

        It ends with CR LF, so that a server of another protocol (HTTP, Redis) answers it and so is
        found out: Graphite never answers.
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
    """Make the sink for `graphite://`; it sends a point for each `interval` (seconds)."""
    return GraphiteSink(address, series, log, interval=interval)
