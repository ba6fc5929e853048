"""Send the batches in the outbox to Graphite, from one thread and over one connection."""

import errno
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from beanwatch.collectors.deliver.carbon import GraphiteError
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.deliver.spool import Parcel
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.words import count

# Speed at which late points are sent, so that they do not overload a carbon that has just started.
LATE_RATE = 50_000.0  # points per second
MAX_RETRY_SECONDS = 10.0  # between two attempts to connect, or to read a spool file
SPOOL_ERROR_PAUSE = 1.0  # seconds without a send after an error in reading a spool file
# Errors for a spool file that does not exist any more or is not a regular file. Its points are
# dropped. After another error, the file is read again later.
LOST_FILE_ERRORS = frozenset((errno.ENOENT, errno.EINVAL, errno.ELOOP))
PEER_CHECK_SECONDS = 1.0  # between two checks whether Graphite has closed an idle connection


class Transport(Protocol):
    """The methods that Delivery calls. CarbonConnection has them, and describes each."""

    @property
    def is_connected(self) -> bool: ...

    def check_peer(self) -> None: ...

    def connect(self) -> None: ...

    def close_confirmed(self, timeout: float) -> None: ...

    def send(self, lines: bytes) -> None: ...

    def close(self) -> None: ...


class Delivery:
    """Sends the batches of an outbox, and reconnects after an error.

    Fresh batches are sent first and at once, late ones at most at `late_rate` points per second. A
    batch stays in the outbox until it has been sent.
    """

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        problems: ProblemLog,
        *,
        late_rate: float = LATE_RATE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._transport = transport
        self._problems = problems
        self._late_rate = late_rate
        self._clock = clock
        self._late_at = 0.0  # clock time before which no late batch is sent
        self._retry_at = 0.0  # clock time of the next attempt to connect
        self._retry = 0.0  # seconds between two attempts; 0 if the last send succeeded
        self._connected_at = 0.0
        self._was_connected = False

    def run(self, stop: threading.Event) -> None:
        """Send batches until `stop` is set."""
        while not stop.is_set():
            pause = self.step()
            if self._transport.is_connected:
                self._outbox.wait(pause)
            else:
                stop.wait(pause)

    def step(self) -> float:
        """Connect if necessary, and send one batch. Return the seconds until the next call."""
        now = self._clock()
        if not self._is_connected():
            # Reconnect even if the outbox is empty: the last batches may have to be sent again.
            if now < self._retry_at:
                return self._retry_at - now
            if not self._connect():
                return self._retry
        parcel = self._outbox.next(late=now >= self._late_at)
        if parcel is None:
            # A server that is not carbon would have replied or disconnected by now.
            if now - self._connected_at >= PEER_CHECK_SECONDS:
                self._retry = 0.0
                self._problems.clear("graphite", "Graphite accepts points again")
            return min(PEER_CHECK_SECONDS, max(0.0, self._late_at - now)) or PEER_CHECK_SECONDS
        return self._send(parcel)

    def finish(self, timeout: float) -> bool:
        """Send all remaining points at full speed, within `timeout` seconds, and disconnect.

        Return True if Graphite has read all of them.
        """
        end = self._clock() + timeout
        while self._outbox.total_backlog and self._clock() < end:
            self._late_at = 0.0
            if not self._is_connected() and not self._connect():
                return False
            parcel = self._outbox.next(late=True)
            if parcel is not None and self._send(parcel) and self._transport.is_connected:
                return False  # the spool file cannot be read now
        if self._transport.is_connected and not self._outbox.total_backlog:
            try:
                self._transport.close_confirmed(max(0.0, end - self._clock()))
            except GraphiteError as error:
                self._failed(error)
                self._outbox.requeue()
                return False
            self._outbox.discard_sent()
        return not self._outbox.total_backlog

    def close(self) -> None:
        """Close the connection; unsent points stay in the outbox."""
        self._transport.close()

    def _is_connected(self) -> bool:
        try:
            self._transport.check_peer()
        except GraphiteError as error:
            self._failed(error)
        return self._transport.is_connected

    def _connect(self) -> bool:
        if self._was_connected or self._retry:
            self._was_connected = False
            self._outbox.requeue()
        try:
            self._transport.connect()
        except GraphiteError as error:
            self._failed(error)
            return False
        self._was_connected = True
        self._connected_at = self._clock()
        return True

    def _send(self, parcel: Parcel) -> float:
        try:
            lines = self._outbox.read(parcel)
        except OSError as error:
            if error.errno not in LOST_FILE_ERRORS:
                self._late_at = self._clock() + MAX_RETRY_SECONDS
                self._problems.report(
                    f"spool {parcel.file}",
                    f"cannot read spool file {parcel.file}: {error.strerror}; "
                    f"trying again in {MAX_RETRY_SECONDS:g} s",
                )
                return SPOOL_ERROR_PAUSE
            self._outbox.drop(parcel)
            self._problems.report(
                f"spool {parcel.file}",
                f"cannot read spool file {parcel.file}: {error.strerror}; "
                f"its {count(parcel.points, 'point is', 'points are')} dropped",
            )
            return 0.0
        try:
            self._transport.send(lines)
        except GraphiteError as error:
            self._failed(error)
            return self._retry
        if self._outbox.mark_sent(parcel):
            self._late_at = self._clock() + parcel.points / self._late_rate
        return 0.0

    def _failed(self, error: GraphiteError) -> None:
        # Random, so that the collectors of many hosts do not reconnect at the same moment.
        self._retry = min(MAX_RETRY_SECONDS, max(0.5, self._retry * 2))
        self._retry_at = self._clock() + self._retry * random.uniform(0.5, 1.0)
        self._problems.report(
            "graphite", f"cannot send points: {error}; points are kept and sent later"
        )
