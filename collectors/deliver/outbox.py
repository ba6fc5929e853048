"""What is still to be sent to Graphite: current points first, late ones after, all bounded."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from beanwatch.collectors.deliver.spool import Parcel, Spool
from beanwatch.telemetry.graphite import Batch

MEMORY = 64 * 1024 * 1024  # bytes
# A peer that dies without a word swallows what was sent last: TCP notices after up to 20 s.
REPLAY = 60.0  # seconds


class Outbox:
    """Batches between the polls and Graphite; used by many threads.

    Fresh batches leave before late ones (those that could not be sent when they were
    new), so that after an outage the present is seen at once and the past fills in.
    What was sent is remembered for `replay` seconds, to be sent again after a reconnect:
    Graphite overwrites a point with the same one. In memory the oldest goes when `memory`
    bytes are full; with a spool everything is on disk too, and survives this process.
    """

    def __init__(
        self,
        spool: Spool | None = None,
        *,
        memory: int = MEMORY,
        replay: float = REPLAY,
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
        """Take a batch over; the oldest make room for it."""
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
        """The first fresh batch, else (if `late`) the oldest late one; it stays until settled."""
        with self._ready:
            if self._fresh:
                return self._fresh[0]
            return self._late[0] if late and self._late else None

    def read(self, parcel: Parcel) -> bytes:
        """The lines of a parcel. Raises OSError if they were on disk and cannot be read back."""
        return self._spool.read(parcel) if self._spool and parcel.file else parcel.lines

    def settle(self, parcel: Parcel) -> bool:
        """It was sent; true if it was a late one."""
        now = self._clock()
        with self._ready:
            was_late = bool(self._late) and self._late[0] is parcel
            if not self._remove(parcel):
                return False  # it had to make room meanwhile, and was counted as dropped
            self._backlog[parcel.source] -= parcel.points
            self._sent.append((now, parcel))
            while self._sent and self._sent[0][0] < now - self._replay:
                self._forget(self._sent.popleft()[1])
            return was_late

    def reopen(self) -> None:
        """The connection was lost: what it took last, and what waited for it, is late now."""
        with self._ready:
            again = [parcel for _, parcel in self._sent]
            for parcel in again:
                self._backlog[parcel.source] += parcel.points
            self._sent.clear()
            self._late.extendleft(reversed(again))
            self._late.extend(self._fresh)
            self._fresh.clear()

    def forget(self) -> None:
        """What was sent has been read, so none of it will have to be sent again."""
        with self._ready:
            while self._sent:
                self._forget(self._sent.popleft()[1])

    def drop(self, parcel: Parcel) -> None:
        """It cannot be read back, so it never will be sent."""
        with self._ready:
            if self._remove(parcel):
                self._drop(parcel)

    @property
    def has_spool(self) -> bool:
        """True if what waits survives this process."""
        return self._spool is not None

    def backlog(self, source: str) -> int:
        """Points of a source that are still to be sent."""
        return self._backlog[source]

    def dropped(self, source: str) -> int:
        """Points of a source that were given up since the start."""
        return self._dropped[source]

    @property
    def total_dropped(self) -> int:
        """Points of all sources that were given up since the start."""
        with self._ready:
            return sum(self._dropped.values())

    @property
    def total_backlog(self) -> int:
        """Points of all sources that are still to be sent."""
        with self._ready:
            return sum(self._backlog.values())

    def _remove(self, parcel: Parcel) -> bool:
        for queue in (self._fresh, self._late):
            if queue and queue[0] is parcel:
                queue.popleft()
                return True
        return False

    def _make_room(self) -> None:
        # What was sent has very likely arrived, so it is the first to go, and is no loss.
        while self._over() and self._sent:
            self._forget(self._sent.popleft()[1])
        while self._over() and (self._late or len(self._fresh) > 1):
            self._drop((self._late or self._fresh).popleft())

    def _over(self) -> bool:
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
