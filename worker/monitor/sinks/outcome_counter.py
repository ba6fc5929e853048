"""OutcomeCounter: counts outcomes of jobs per minute in Redis, for the check of job failures."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from beanwatch.store.outcome_counts import KEPT_MINUTES, outcome_field, outcomes_key
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream


class OutcomeCounter:
    """Counts runs by queue, job and outcome, and adds the counts to those in Redis at each tick.

    It uses the ledger's connection, which the ledger closes. Sinks are closed in their order, so
    this sink must come before the ledger.
    """

    def __init__(self, stream: RedisStream, *, clock: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()

    @property
    def dropped(self) -> int:
        """The number of messages to Redis that were lost, including those of the ledger."""
        return self._stream.dropped

    def on_finished(self, run: Run) -> None:
        """Count a run under its queue, job and outcome."""
        with self._lock:
            self._counts[run.queue, run.job, run.outcome] += 1

    def tick(self) -> None:
        """Send the counts since the last tick."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if counts:
            key = outcomes_key(int(self._clock()) // 60)
            added = [("HINCRBY", key, outcome_field(*ended), n) for ended, n in counts.items()]
            # Never resend: to count a run twice is worse than to miss it.
            self._stream.send([*added, ("EXPIRE", key, KEPT_MINUTES * 60)], may_repeat=False)
        self._stream.flush()

    def close(self, timeout: float) -> None:
        """Send the remaining counts. The ledger closes the connection afterwards."""
        self.tick()
