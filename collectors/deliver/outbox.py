"""Queue the batches of points that wait to be sent to Graphite, up to a limit."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from beanwatch.collectors.deliver.spool import Parcel, Spool
from beanwatch.telemetry.graphite import Batch

MAX_MEMORY_BYTES = 64 * 1024 * 1024
INTERVAL = 10.0  # seconds between two polls
# A carbon that crashes loses confirmed points that it has not yet written to disk.
REPLAY_INTERVALS = 2


class Sent(NamedTuple):
    """Points of a batch that were sent, and that Graphite has not confirmed."""

    parcel: Parcel
    points: int
    size: int  # bytes of their lines
    is_whole: bool  # True if they are all that was left of the batch
    was_late: bool
    at: float  # clock time


class Outbox:
    """A queue of batches of points, from the pollers to Graphite. Thread-safe.

    Fresh batches are sent before late ones, so that current values show at once after an outage.
    When Graphite cannot be reached, all batches become late. A fresh batch also becomes late if it
    has waited for `interval` seconds, a newer one of its source is there, and no batch of the same
    poll has been sent: on a slow link whole polls are late, not a part of each.

    A batch that was sent stays here until Graphite confirms that it has read it. `restore` queues
    it again. Confirmed batches are kept for REPLAY_INTERVALS intervals, for `replay`. Graphite
    overwrites a point with the same value.

    Batches are stored in memory, at most `memory` bytes, or in the files of a spool, which survive
    this process. If a limit is exceeded, the oldest batch there is dropped and counted.
    """

    def __init__(
        self,
        spool: Spool | None = None,
        *,
        memory: int = MAX_MEMORY_BYTES,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._memory = memory
        self._interval = interval
        self._clock = clock
        self._ready = threading.Condition()
        self._fresh: deque[Parcel] = deque()
        self._late: deque[Parcel] = deque(spool.load() if spool else ())
        self._sent: list[Sent] = []
        self._confirmed: deque[tuple[float, Parcel]] = deque()
        self._begun: dict[str, int] = {}  # by source: the stamp of the poll of which a part is sent
        self._newest: dict[str, int] = {}  # by source: the stamp of its newest poll
        self._bytes = 0  # of batches in memory
        # Bytes of batches in the spool.
        self._disk = sum(parcel.size for parcel in self._late)
        self._backlog: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        for parcel in self._late:
            self._backlog[parcel.source] += parcel.points

    def put(self, batch: Batch) -> None:
        """Add a fresh batch. If a limit is exceeded, drop the oldest batches."""
        parcel = self._spool.write(batch) if self._spool else Parcel.of(batch)
        parcel.put_at = self._clock()
        with self._ready:
            self._fresh.append(parcel)
            self._newest[parcel.source] = parcel.stamp
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
            while self._fresh and self._is_overtaken(self._fresh[0]):
                self._late.append(self._fresh.popleft())
            if self._fresh:
                return self._fresh[0]
            return self._late[0] if late and self._late else None

    def read(self, parcel: Parcel) -> bytes:
        """Return the lines of a batch that Graphite has not confirmed.

        Points that its spool file lacks count as dropped. Raises OSError if it cannot be read.
        """
        lines = parcel.lines
        if self._spool and parcel.file:
            lines = self._spool.read(parcel)
            self._drop_missing(parcel, parcel.points - lines.count(b"\n"))
        return lines[parcel.confirmed_bytes :] if parcel.confirmed_bytes else lines

    def _drop_missing(self, parcel: Parcel, points: int) -> None:
        with self._ready:
            is_next = parcel in (*list(self._late)[:1], *list(self._fresh)[:1])
            if points <= 0 or not is_next:
                return
            parcel.points -= points
            self._backlog[parcel.source] -= points
            self._dropped[parcel.source] += points
            self._causes["a spool file was cut"] += points

    def mark_sent(self, parcel: Parcel, part: bytes | None = None) -> Sent | None:
        """Mark a batch, or its next lines `part`, as sent. Return None if it was dropped meanwhile.

        After a part, nothing else may be marked until `confirm` or `restore`.
        """
        with self._ready:
            was_late = bool(self._late) and self._late[0] is parcel
            if not was_late and not (self._fresh and self._fresh[0] is parcel):
                return None
            if part is None:
                self._remove(parcel)
            if not was_late:
                self._begun[parcel.source] = parcel.stamp
            points = parcel.points_left if part is None else part.count(b"\n")
            self._backlog[parcel.source] -= points
            size, now = len(part or b""), self._clock()
            sent = Sent(parcel, points, size, part is None, was_late, now)
            self._sent.append(sent)
            return sent

    def confirm(self) -> None:
        """Note that Graphite has read all that was sent.

        Forget what it confirmed REPLAY_INTERVALS intervals before that was sent: since then it had
        time to write it to disk. The time of this call does not count: when a Graphite that hung
        for long is killed, its connection ends as if it had just read everything.
        """
        now = self._clock()
        with self._ready:
            oldest = (self._sent[-1].at if self._sent else now) - REPLAY_INTERVALS * self._interval
            for sent in self._sent:
                if sent.is_whole:
                    self._confirmed.append((now, sent.parcel))
                else:
                    sent.parcel.confirmed_bytes += sent.size
                    sent.parcel.confirmed_points += sent.points
            self._sent.clear()
            while self._confirmed and self._confirmed[0][0] < oldest:
                self._forget(self._confirmed.popleft()[1])

    def restore(self) -> None:
        """Queue again, at the front, what was sent and is not confirmed: the connection broke."""
        with self._ready:
            for sent in reversed(self._sent):
                self._backlog[sent.parcel.source] += sent.points
                if sent.is_whole:
                    (self._late if sent.was_late else self._fresh).appendleft(sent.parcel)
            self._sent.clear()

    def requeue(self) -> None:
        """Do the same as `restore`, and make all batches late: Graphite cannot be reached."""
        self.restore()
        with self._ready:
            self._late.extend(self._fresh)
            self._fresh.clear()

    def replay(self) -> None:
        """Queue again, as late, what Graphite confirmed just before it crashed."""
        with self._ready:
            again = [parcel for _, parcel in self._confirmed]
            self._confirmed.clear()
            for parcel in again:
                parcel.confirmed_bytes = parcel.confirmed_points = 0
                self._backlog[parcel.source] += parcel.points
            self._late.extendleft(reversed(again))

    def discard_confirmed(self) -> None:
        """Forget the batches that `replay` would queue: this process ends."""
        with self._ready:
            while self._confirmed:
                self._forget(self._confirmed.popleft()[1])

    def postpone(self, parcel: Parcel) -> None:
        """Move a batch to the end of the late ones, because its spool file cannot be read now."""
        with self._ready:
            if self._remove(parcel):
                self._late.append(parcel)

    def drop(self, parcel: Parcel) -> None:
        """Remove a batch whose spool file is lost, and count its points as dropped."""
        with self._ready:
            if self._remove(parcel):
                self._drop(parcel, "a spool file was lost")

    def save(self) -> None:
        """Move the batches in memory to the spool, as far as it can be written.

        Call it at the end, when nothing is being sent.
        """
        if self._spool is not None:
            for parcel in (*self._late, *self._fresh, *(sent.parcel for sent in self._sent)):
                if not self._spool.save(parcel):
                    return

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
    def causes(self) -> Counter[str]:
        """The number of points that were dropped since the start, by the cause."""
        with self._ready:
            return Counter(self._causes)

    @property
    def total_backlog(self) -> int:
        """The number of points of all sources that are still to be sent."""
        with self._ready:
            return sum(self._backlog.values())

    @property
    def unconfirmed(self) -> int:
        """The number of points that were sent, and that Graphite has not confirmed."""
        with self._ready:
            return sum(sent.points for sent in self._sent)

    @property
    def only_in_memory(self) -> int:
        """The number of unsent or unconfirmed points that are lost if this process ends."""
        with self._ready:
            parcels = {id(one): one for one in (*self._fresh, *self._late)}
            parcels |= {id(sent.parcel): sent.parcel for sent in self._sent}
            return sum(one.points_left for one in parcels.values() if not one.file)

    def _is_overtaken(self, parcel: Parcel) -> bool:
        return (
            self._newest[parcel.source] > parcel.stamp
            and self._begun.get(parcel.source) != parcel.stamp
            and self._clock() - parcel.put_at > self._interval
        )

    def _remove(self, parcel: Parcel) -> bool:
        for queue in (self._fresh, self._late):
            if queue and queue[0] is parcel:
                queue.popleft()
                return True
        return False

    def _make_room(self) -> None:
        while self._bytes > self._memory and self._free(on_disk=False, cause="memory is full"):
            pass
        limit = self._spool.limit if self._spool else 0
        while self._disk > limit and self._free(on_disk=True, cause="the spool is full"):
            pass

    def _free(self, *, on_disk: bool, cause: str) -> bool:
        """Remove the oldest batch in memory or on disk. Return False if there is none.

        Confirmed ones go first. They do not count as dropped. What is being sent stays.
        """
        for entry in self._confirmed:
            if bool(entry[1].file) is on_disk:
                self._confirmed.remove(entry)
                self._forget(entry[1])
                return True
        sending = {id(sent.parcel) for sent in self._sent}
        newest = self._fresh[-1] if self._fresh else None  # even if it alone exceeds the limit
        for queue in (self._late, self._fresh):
            for parcel in queue:
                if bool(parcel.file) is on_disk and id(parcel) not in sending and parcel != newest:
                    queue.remove(parcel)
                    self._drop(parcel, cause)
                    return True
        return False

    def _drop(self, parcel: Parcel, cause: str) -> None:
        self._backlog[parcel.source] -= parcel.points_left
        self._dropped[parcel.source] += parcel.points_left
        self._causes[cause] += parcel.points_left
        self._forget(parcel)

    def _forget(self, parcel: Parcel) -> None:
        self._bytes -= len(parcel.lines)
        self._disk -= parcel.size
        if self._spool:
            self._spool.remove(parcel)
