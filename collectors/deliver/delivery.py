"""Send the batches in the outbox to Graphite, and keep them until Graphite has read them."""

import errno
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from beanwatch.collectors.deliver.carbon import GraphiteDownError, GraphiteError
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.deliver.spool import Parcel
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.words import count

# Speed at which late points are sent, so that they do not overload a carbon that has just started.
LATE_RATE = 50_000.0  # points per second
MAX_RETRY_SECONDS = 10.0  # between two attempts to connect, or to read a spool file
MAX_FINISH_RETRY = 1.0  # the same at the end: give up after the third failure in a row
# Errors for a spool file that does not exist any more or is not a regular file. Its points are
# dropped. After another error, the file is read again later.
LOST_FILE_ERRORS = frozenset((errno.ENOENT, errno.EINVAL, errno.ELOOP))
PEER_CHECK_SECONDS = 1.0  # between two checks whether Graphite has closed an idle connection
STEP_SECONDS = 0.5  # longest wait for the network in one step: a stop waits for it
# A connection on which nothing more was sent for this time is closed, so that Graphite confirms.
QUIET_SECONDS = 0.2
# Without any progress: a warning after the first time, and another connection after the second
# one. A carbon that hangs for a while still has, and reads, what it was sent; sending it again
# earlier would only make duplicates.
WARN_SECONDS = 5.0
STALL_SECONDS = 60.0
# Bytes sent over one connection before Graphite must confirm them, chosen so that this takes about
# CONFIRM_SECONDS. If the connection breaks, no more than these are sent again.
MIN_WINDOW = 4 * 1024
FIRST_WINDOW = 64 * 1024
MAX_WINDOW = 4 * 1024 * 1024
CONFIRM_SECONDS = 0.5


class Transport(Protocol):
    """The methods that Delivery calls. CarbonConnection has them, and describes each."""

    @property
    def is_connected(self) -> bool: ...

    @property
    def unacknowledged(self) -> int: ...

    def check_peer(self) -> None: ...

    def connect(self) -> None: ...

    def write(self, lines: bytes | memoryview, timeout: float) -> int: ...

    def half_close(self) -> None: ...

    def is_confirmed(self, timeout: float) -> bool: ...

    def close(self) -> None: ...


class Delivery:
    """Sends the batches of an outbox, and reconnects after an error.

    Fresh batches are sent first and at once, late ones at most at `late_rate` points per second. A
    batch stays in the outbox until Graphite has confirmed it.

    Graphite confirms only by closing a connection that we have closed (see CarbonConnection). So
    each connection carries at most a window of bytes, and the next one is opened after that. The
    window grows on a fast link and shrinks on a slow one. There is no limit to the time that a
    batch takes as long as bytes flow.
    """

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        problems: ProblemLog,
        *,
        late_rate: float = LATE_RATE,
        stall: float = STALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._transport = transport
        self._problems = problems
        self._late_rate = late_rate
        self._stall = stall
        self._clock = clock
        self._late_at = 0.0  # clock time before which no late batch is sent
        self._retry_at = 0.0  # clock time of the next attempt to connect
        self._retry = 0.0  # seconds between two attempts; 0 if the last window was confirmed
        self._is_finishing = False
        self._window = FIRST_WINDOW
        # True if the peer has confirmed a window, and had time before that to answer or to hang up,
        # as a server does that is not carbon.
        self._is_proven = False
        self._was_connected = False  # at the last attempt to connect
        # Of this connection:
        self._connected_at = 0.0
        self._connect_seconds = 0.0  # about one round trip
        self._unsent = memoryview(b"")  # lines that the kernel has not yet accepted
        self._loaded = 0  # bytes of all its lines
        self._is_full = False
        self._is_half_closed = False
        self._loaded_at = 0.0  # clock time of the first lines
        self._sent_at = 0.0  # clock time of the last ones
        self._closed_at = 0.0  # clock time of the half-close
        self._moved_at = 0.0  # clock time of the last sign of progress
        self._unacknowledged = 0
        self._hangs = False  # Graphite has read nothing for WARN_SECONDS

    def run(self, stop: threading.Event) -> None:
        """Send batches until `stop` is set."""
        while not stop.is_set():
            pause = self.step()
            if self._transport.is_connected and not self._is_full:
                self._outbox.wait(pause)
            else:
                stop.wait(pause)

    def step(self) -> float:
        """Connect, send, or wait for a confirmation, for about STEP_SECONDS at most.

        Only an attempt to connect may take longer. Return the seconds until the next call.
        """
        try:
            if not self._transport.is_connected:
                if (left := self._retry_at - self._clock()) > 0:
                    return left
                self._connect()
            return self._advance()
        except GraphiteError as error:
            return self._fail(error)

    def finish(self, timeout: float) -> bool:
        """Send all remaining points at full speed, within `timeout` seconds, and disconnect.

        Return True if Graphite has read all of them.
        """
        end = self._clock() + timeout
        self._is_finishing = True
        self._retry_at = self._retry = self._late_at = 0.0
        while (self._outbox.total_backlog or self._loaded) and (left := end - self._clock()) > 0:
            pause = self.step()
            is_connected = self._transport.is_connected
            if pause and not self._loaded and (is_connected or not self._was_connected):
                return False  # the spool files that are left cannot be read, or nobody answers
            if self._retry > MAX_FINISH_RETRY:
                return False
            time.sleep(min(pause, left))
        return not (self._outbox.total_backlog or self._loaded)

    def close(self) -> None:
        """Close the connection; unsent and unconfirmed points stay in the outbox."""
        self._outbox.discard_confirmed()
        self._transport.close()

    def _connect(self) -> None:
        started = self._clock()
        self._was_connected = False
        self._transport.connect()
        self._was_connected, self._hangs = True, False
        self._connected_at = self._moved_at = self._clock()
        self._connect_seconds = self._connected_at - started

    def _advance(self) -> float:
        """Do the next thing on an open connection. Return the seconds until the next call."""
        now = self._clock()
        if not self._unsent and not self._is_half_closed:
            self._load(now)
        if self._unsent:
            sent = self._transport.write(self._unsent, STEP_SECONDS)
            self._unsent = self._unsent[sent:]
            self._sent_at = self._clock()
            self._watch(has_moved=sent > 0)
            return 0.0
        if not self._loaded:
            return self._idle(now)
        if not self._is_half_closed:
            self._transport.check_peer()
            self._watch()
            if (left := self._quiet_left(now)) > 0:
                return min(left, self._late_at - now) if self._late_at > now else left
            self._transport.half_close()
            self._is_half_closed, self._closed_at = True, now
        if self._transport.is_confirmed(STEP_SECONDS):
            self._confirm()
        else:
            self._watch()
        return 0.0

    def _load(self, now: float) -> None:
        """Take batches, or a part of one, until the window is full."""
        pieces = []
        while not self._is_full:
            parcel = self._outbox.next(late=now >= self._late_at)
            if parcel is None:
                break
            lines = self._read(parcel, now)
            if lines is None:
                continue
            part = lines[: self._cut(lines)]
            sent = self._outbox.mark_sent(parcel, None if len(part) == len(lines) else part)
            if sent is None:
                continue
            if sent.was_late and not self._is_finishing:
                self._late_at = now + sent.points / self._late_rate
            pieces.append(part)
            if not self._loaded:
                self._loaded_at = now
            self._loaded += len(part)
            self._is_full = self._loaded >= self._window or not sent.is_whole
        if pieces:
            self._unsent = memoryview(b"".join(pieces))
            self._moved_at = now

    def _cut(self, lines: bytes) -> int:
        """Return how many bytes of `lines` fit into the window: whole lines, at least one."""
        room = self._window - self._loaded
        if len(lines) <= room:
            return len(lines)
        return (lines.rfind(b"\n", 0, room) + 1) or (lines.find(b"\n") + 1) or len(lines)

    def _read(self, parcel: Parcel, now: float) -> bytes | None:
        try:
            return self._outbox.read(parcel)
        except OSError as error:
            key = f"spool {parcel.file}"
            text = f"cannot read spool file {parcel.file}: {error.strerror}; "
            if error.errno in LOST_FILE_ERRORS:
                lost = count(parcel.points_left, "point is", "points are")
                self._outbox.drop(parcel)
                self._problems.report(key, f"{text}its {lost} dropped")
            else:
                self._outbox.postpone(parcel)
                self._late_at = now + MAX_RETRY_SECONDS
                self._problems.report(key, f"{text}trying again in {MAX_RETRY_SECONDS:g} s")
            return None

    def _idle(self, now: float) -> float:
        """Check a connection on which nothing was sent. Return the seconds until the next call."""
        age = now - self._connected_at
        try:
            self._transport.check_peer()
        except GraphiteError:
            self._is_proven = False
            if age < PEER_CHECK_SECONDS:
                raise
            return 0.0  # carbon may close idle connections: connect again
        # A server that is not carbon would have replied or disconnected by now.
        if age >= PEER_CHECK_SECONDS:
            self._succeed()
        return min(PEER_CHECK_SECONDS, max(0.0, self._late_at - now)) or PEER_CHECK_SECONDS

    def _quiet_left(self, now: float) -> float:
        """Return the seconds to wait for more lines, or for an answer, before the half-close."""
        if self._is_proven and (self._is_full or self._is_finishing):
            return 0.0
        if not self._is_proven and self._transport.unacknowledged:
            return QUIET_SECONDS
        return QUIET_SECONDS - (now - self._sent_at)

    def _watch(self, *, has_moved: bool = False) -> None:
        """Log that nothing moves, and raise GraphiteError if this takes too long."""
        now, waiting = self._clock(), self._transport.unacknowledged
        if has_moved or waiting != self._unacknowledged:
            self._moved_at, self._unacknowledged, self._hangs = now, waiting, False
        elif now - self._moved_at > self._stall:
            raise GraphiteError(f"{self._transport}: it has read nothing for {self._stall:g} s")
        elif now - self._moved_at > WARN_SECONDS:
            self._hangs = True
            self._report(f"{self._transport}: it has read nothing for {WARN_SECONDS:g} s")

    def _confirm(self) -> None:
        """Graphite has read all that was sent over this connection, and has closed it."""
        now = self._clock()
        seconds = now - self._loaded_at - (self._closed_at - self._sent_at)
        # A window must take several round trips, or the waits between windows would cost most.
        aim = min(5.0, max(CONFIRM_SECONDS, 5 * self._connect_seconds))
        if seconds > 2 * aim:
            self._window = max(MIN_WINDOW, self._window // 2)
        elif seconds < aim and self._is_full:
            self._window = min(MAX_WINDOW, self._window * (2 if seconds > aim / 4 else 4))
        self._is_proven = True
        self._outbox.confirm()
        self._reset()
        self._succeed()

    def _succeed(self) -> None:
        self._retry = 0.0
        self._problems.clear("graphite", "Graphite accepts points again")

    def _reset(self) -> None:
        self._unsent = memoryview(b"")
        self._loaded = 0
        self._is_full = self._is_half_closed = False

    def _fail(self, error: GraphiteError) -> float:
        """Queue again what is not confirmed. Return the seconds until the next attempt."""
        self._transport.close()
        if self._was_connected:
            self._outbox.restore()
        else:
            self._outbox.requeue()
        # A carbon that hung may have been killed, and started again before the next attempt.
        if isinstance(error, GraphiteDownError) or self._hangs:
            self._outbox.replay()
        self._hangs = False
        # Most connections that break after a success can be replaced at once: that is no problem.
        if self._retry or not self._was_connected:
            self._report(str(error))
        self._reset()
        self._window = MIN_WINDOW
        self._is_proven = False
        # Random, so that the collectors of many hosts do not reconnect at the same moment.
        self._retry = min(MAX_RETRY_SECONDS, max(0.5, self._retry * 2))
        pause = self._retry * random.uniform(0.5, 1.0)
        self._retry_at = self._clock() + pause
        return pause

    def _report(self, reason: str) -> None:
        self._problems.report(
            "graphite", f"cannot send points: {reason}; points are kept and sent later"
        )
