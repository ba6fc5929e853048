"""Batches that wait to be sent to Graphite: fresh ones first, then late ones, within a limit."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from beanwatch.collectors.deliver.spool import Parcel, Spool
from beanwatch.telemetry.graphite import Batch

MAX_MEMORY_BYTES = 64 * 1024 * 1024
# Sent batches are kept for so long. The data sent last are lost if the peer's host dies: TCP
# reports that only after up to 20 s.
REPLAY_SECONDS = 60.0


class Outbox:
    """The batches between the pollers and Graphite. Thread-safe.

    Fresh batches are sent before late ones (those that waited for a reconnect), so that current
    values show at once after an outage. Sent batches are kept for `replay` seconds and sent again
    after a reconnect; Graphite overwrites a point with the same value. Batches are in memory, at
    most `memory` bytes, or in the files of a spool, which survive this process. At the limit the
    oldest batch is dropped and counted.
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
        self._bytes = 0  # in memory
        self._disk = sum(parcel.size for parcel in self._late)
        self._backlog: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        for parcel in self._late:
            self._backlog[parcel.source] += parcel.points

    def put(self, batch: Batch) -> None:
        """Add a fresh batch; drop the oldest batches if the limit is exceeded."""
        parcel = self._spool.keep(batch) if self._spool else Parcel.of(batch)
        with self._ready:
            self._fresh.append(parcel)
            self._bytes += len(parcel.lines)
            self._disk += parcel.size
            self._backlog[parcel.source] += parcel.points
            self._make_room()
            self._ready.notify()

    def wait(self, timeout: float) -> None:
        """Sleep until there is a fresh batch, for at most `timeout` seconds."""
        with self._ready:
            if not self._fresh:
                self._ready.wait(timeout)

    def next(self, *, late: bool) -> Parcel | None:
        """The first fresh batch, else the oldest late one if `late`. It stays until `settle`."""
        with self._ready:
            if self._fresh:
                return self._fresh[0]
            return self._late[0] if late and self._late else None

    def read(self, parcel: Parcel) -> bytes:
        """The lines of a batch. Raises OSError if its spool file cannot be read."""
        return self._spool.read(parcel) if self._spool and parcel.file else parcel.lines

    def settle(self, parcel: Parcel) -> bool:
        """Mark a batch as sent and keep it for a replay. True if it was a late one."""
        now = self._clock()
        with self._ready:
            was_late = bool(self._late) and self._late[0] is parcel
            if not self._remove(parcel):
                return False  # it was dropped meanwhile to make room, and counted
            self._backlog[parcel.source] -= parcel.points
            self._sent.append((now, parcel))
            while self._sent and self._sent[0][0] < now - self._replay:
                self._forget(self._sent.popleft()[1])
            return was_late

    def reopen(self) -> None:
        """After a lost connection, queue the sent and the fresh batches as late ones."""
        with self._ready:
            again = [parcel for _, parcel in self._sent]
            for parcel in again:
                self._backlog[parcel.source] += parcel.points
            self._sent.clear()
            self._late.extendleft(reversed(again))
            self._late.extend(self._fresh)
            self._fresh.clear()

    def forget(self) -> None:
        """Discard the sent batches: Graphite has read them, so no replay is needed."""
        with self._ready:
            while self._sent:
                self._forget(self._sent.popleft()[1])

    def drop(self, parcel: Parcel) -> None:
        """Give up a batch whose spool file cannot be read, and count its points as dropped."""
        with self._ready:
            if self._remove(parcel):
                self._drop(parcel)

    @property
    def has_spool(self) -> bool:
        """True if batches are kept on disk and survive this process."""
        return self._spool is not None

    def backlog(self, source: str) -> int:
        """The number of points of a source that are still to be sent."""
        return self._backlog[source]

    def dropped(self, source: str) -> int:
        """The number of points of a source that were dropped since the start."""
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
