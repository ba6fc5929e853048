"""Queue the batches of points that wait to be sent to Graphite, up to a limit."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from beanwatch.collectors.deliver.spool import Parcel, Spool
from beanwatch.telemetry.graphite import Batch

MAX_MEMORY_BYTES = 64 * 1024 * 1024
# Sent batches are kept for this time, to be sent again after an error. If the peer's host dies, TCP
# reports it after up to 20 s, and what was sent until then is lost.
REPLAY_SECONDS = 60.0


class Outbox:
    """A queue of batches of points, from the pollers to Graphite. Thread-safe.

    A batch is fresh until the connection is lost; then it becomes late. Fresh batches are sent
    before late ones, so that current values show at once after an outage. Sent batches are kept for
    `replay` seconds and sent again after a reconnect; Graphite overwrites a point with the same
    value. Batches are stored in memory, at most `memory` bytes, or in the files of a spool, which
    survive this process. If the limit is exceeded, the oldest batch is dropped and counted.
    """

    def __init__(
        self,
        spool: Spool | None = None,
        *,
        memory: int = MAX_MEMORY_BYTES,
        replay: float = REPLAY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._memory = memory
        self._replay = replay
        self._clock = clock
        self._ready = threading.Condition()
        self._fresh: deque[Parcel] = deque()
        self._late: deque[Parcel] = deque(spool.load() if spool else ())
        self._sent: deque[tuple[float, Parcel]] = deque()
        self._bytes = 0  # of batches in memory
        # Bytes of batches in the spool.
        self._disk = sum(parcel.size for parcel in self._late)
        self._backlog: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        for parcel in self._late:
            self._backlog[parcel.source] += parcel.points

    def put(self, batch: Batch) -> None:
        """Add a fresh batch. If the limit is exceeded, drop the oldest batches."""
        parcel = self._spool.write(batch) if self._spool else Parcel.of(batch)
        with self._ready:
            self._fresh.append(parcel)
            self._bytes += len(parcel.lines)
            self._disk += parcel.size
            self._backlog[parcel.source] += parcel.points
            self._make_room()
            self._ready.notify()

    def wait(self, timeout: float) -> None:
        """Wait until there is a fresh batch, but at most `timeout` seconds."""
        with self._ready:
            if not self._fresh:
                self._ready.wait(timeout)

    def next(self, *, late: bool) -> Parcel | None:
        """Return the first fresh batch; if there is none and `late` is true, the oldest late one.

        The batch stays in the outbox until `mark_sent` or `drop` is called for it.
        """
        with self._ready:
            if self._fresh:
                return self._fresh[0]
            return self._late[0] if late and self._late else None

    def read(self, parcel: Parcel) -> bytes:
        """Return the lines of a batch. Raises OSError if its spool file cannot be read."""
        return self._spool.read(parcel) if self._spool and parcel.file else parcel.lines

    def mark_sent(self, parcel: Parcel) -> bool:
        """Mark a batch as sent, but keep it for sending it again. Return True if it was late."""
        now = self._clock()
        with self._ready:
            was_late = bool(self._late) and self._late[0] is parcel
            if not self._remove(parcel):
                return False  # it was dropped meanwhile to make room
            self._backlog[parcel.source] -= parcel.points
            self._sent.append((now, parcel))
            while self._sent and self._sent[0][0] < now - self._replay:
                self._forget(self._sent.popleft()[1])
            return was_late

    def requeue(self) -> None:
        """Queue the sent and the fresh batches as late ones, after the connection was lost."""
        with self._ready:
            again = [parcel for _, parcel in self._sent]
            for parcel in again:
                self._backlog[parcel.source] += parcel.points
            self._sent.clear()
            self._late.extendleft(reversed(again))
            self._late.extend(self._fresh)
            self._fresh.clear()

    def discard_sent(self) -> None:
        """Discard the batches marked as sent. Call it when Graphite is known to have read them."""
        with self._ready:
            while self._sent:
                self._forget(self._sent.popleft()[1])

    def drop(self, parcel: Parcel) -> None:
        """Remove a batch whose spool file is lost, and count its points as dropped."""
        with self._ready:
            if self._remove(parcel):
                self._drop(parcel)

    @property
    def has_spool(self) -> bool:
        """True if batches are stored on disk, so that they survive this process."""
        return self._spool is not None

    def backlog(self, source: str) -> int:
        """Return the number of points of a source (a server's node) that are still to be sent."""
        return self._backlog[source]

    def dropped(self, source: str) -> int:
        """Return the number of points of a source (a server's node) dropped since the start."""
        return self._dropped[source]

    @property
    def total_dropped(self) -> int:
        """The number of points of all sources that were dropped since the start."""
        with self._ready:
            return sum(self._dropped.values())

    @property
    def total_backlog(self) -> int:
        """The number of points of all sources that are still to be sent."""
        with self._ready:
            return sum(self._backlog.values())

    def _remove(self, parcel: Parcel) -> bool:
        for queue in (self._fresh, self._late):
            if queue and queue[0] is parcel:
                queue.popleft()
                return True
        return False

    def _make_room(self) -> None:
        # Sent batches go first: they have most likely arrived, so they do not count as dropped.
        while self._is_over_limit() and self._sent:
            self._forget(self._sent.popleft()[1])
        while self._is_over_limit() and (self._late or len(self._fresh) > 1):
            self._drop((self._late or self._fresh).popleft())

    def _is_over_limit(self) -> bool:
        return self._bytes > self._memory or bool(self._spool and self._disk > self._spool.limit)

    def _drop(self, parcel: Parcel) -> None:
        self._backlog[parcel.source] -= parcel.points
        self._dropped[parcel.source] += parcel.points
        self._forget(parcel)

    def _forget(self, parcel: Parcel) -> None:
        self._bytes -= len(parcel.lines)
        self._disk -= parcel.size
        if self._spool:
            self._spool.remove(parcel)
