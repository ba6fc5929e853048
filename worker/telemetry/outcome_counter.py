"""Counts in Redis how jobs ended, by the minute, for the check of job failures."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from beanwatch.store.outcome_counts import KEPT_MINUTES, outcome_field, outcomes_key
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry.redis_stream import RedisStream


class OutcomeCounter:
    """Adds up the runs in this process, and sends the sums at each tick.

    It uses the ledger's connection, so it must come before the ledger among the sinks: they are
    closed in their order.
    """

    def __init__(self, stream: RedisStream, *, clock: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()

    @property
    def dropped(self) -> int:
        """Writes lost, of everything that is sent over the ledger's connection."""
        return self._stream.dropped

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
            # Send them once: a run that is counted twice is worse than one that is not counted.
            self._stream.send([*added, ("EXPIRE", key, KEPT_MINUTES * 60)], may_repeat=False)
        self._stream.flush()

    def close(self, timeout: float) -> None:
        """Send the rest. The ledger, which is closed after this, closes the connection."""
        self.tick()
