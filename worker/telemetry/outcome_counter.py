"""Counts how jobs ended, by the minute, in Redis: what the checks judge."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from beanwatch.store.heartbeats import outcomes_key
from beanwatch.store.outcome_counts import KEPT_MINUTES, outcome_field
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry.redis_stream import RedisOutlet


class OutcomeCounts:
    """Adds up in the process and sends the sums at each tick.

    Comes before the ledger among the sinks, as it uses the ledger's connection.
    """

    def __init__(self, outlet: RedisOutlet, *, clock: Callable[[], float] = time.time) -> None:
        self._outlet = outlet
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()

    @property
    def dropped(self) -> int:
        """Writes lost, of everything that goes through the same connection."""
        return self._outlet.dropped

    def on_finished(self, run: Run) -> None:
        """Count a run."""
        with self._lock:
            self._counts[run.queue, run.job, run.outcome] += 1

    def tick(self) -> None:
        """Send the sums."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if counts:
            key = outcomes_key(int(self._clock()) // 60)
            added = [("HINCRBY", key, outcome_field(*ended), n) for ended, n in counts.items()]
            # Not again when it may have arrived: counted twice is worse than counted as lost.
            self._outlet.send([*added, ("EXPIRE", key, KEPT_MINUTES * 60)], again=False)
        self._outlet.flush()

    def close(self, timeout: float) -> None:
        """Hand over the rest; the ledger, which comes after, closes the connection."""
        self.tick()
