"""Send the batches of the outbox to Graphite, over one connection and from one thread."""

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

# Speed at which late points are sent, so that they do not overload a carbon that just came back.
LATE_RATE = 50_000.0  # points a second
MAX_RETRY_SECONDS = 10.0  # between two attempts to connect, or to read a spool file
SPOOL_ERROR_PAUSE = 1.0  # seconds without a send after a spool file could not be read
# Errors that mean that a spool file is gone, or is no regular file. Other errors may pass.
LOST_FILE_ERRORS = frozenset((errno.ENOENT, errno.EINVAL, errno.ELOOP))
PEER_CHECK_SECONDS = 1.0  # between two checks that Graphite has not closed an idle connection


class Transport(Protocol):
    """The methods of a connection that Delivery calls; `CarbonConnection` documents them."""

    @property
    def is_connected(self) -> bool: ...

    def check_peer(self) -> None: ...

    def connect(self) -> None: ...

    def close_confirmed(self, timeout: float) -> None: ...

    def send(self, lines: bytes) -> None: ...

    def close(self) -> None: ...


class Delivery:
    """Sends the batches of an outbox: fresh ones first, late ones at `late_rate` points a second.

    A batch stays in the outbox until it was sent.
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
        self._retry_at = 0.0  # clock time before which no connect is tried
        self._retry = 0.0  # seconds to wait after the last failure
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
        """Send one batch if that is possible now. Return the seconds until the next step."""
        now = self._clock()
        if not self._is_connected():
            # Reconnect even with an empty outbox: the batches sent last may have to be sent again.
            if now < self._retry_at:
                return self._retry_at - now
            if not self._connect():
                return self._retry
        parcel = self._outbox.next(late=now >= self._late_at)
        if parcel is None:
            # A peer that is no carbon answers or hangs up soon after a send. This one did neither.
            if now - self._connected_at >= PEER_CHECK_SECONDS:
                self._retry = 0.0
                self._problems.clear("graphite", "Graphite takes points again")
            return min(PEER_CHECK_SECONDS, max(0.0, self._late_at - now)) or PEER_CHECK_SECONDS
        return self._send(parcel)

    def finish(self, timeout: float) -> bool:
        """Send the rest at full speed within `timeout` seconds. True if Graphite read all of it."""
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
                self._outbox.reopen()
                return False
            self._outbox.forget()
        return not self._outbox.total_backlog

    def close(self) -> None:
        """Close the connection."""
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
            self._outbox.reopen()
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
                    f"spool file {parcel.file} cannot be read now: {error.strerror}",
                )
                return SPOOL_ERROR_PAUSE
            self._outbox.drop(parcel)
            self._problems.report(
                f"spool {parcel.file}", f"spool file {parcel.file} is lost: {error.strerror}"
            )
            return 0.0
        try:
            self._transport.send(lines)
        except GraphiteError as error:
            self._failed(error)
            return self._retry
        if self._outbox.settle(parcel):
            self._late_at = self._clock() + parcel.points / self._late_rate
        return 0.0

    def _failed(self, error: GraphiteError) -> None:
        # Random, so that the collectors of many hosts do not reconnect at the same moment.
        self._retry = min(MAX_RETRY_SECONDS, max(0.5, self._retry * 2))
        self._retry_at = self._clock() + self._retry * random.uniform(0.5, 1.0)
        self._problems.report("graphite", f"{error}; points are kept and sent later")
