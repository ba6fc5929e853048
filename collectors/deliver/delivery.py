"""Carry the outbox to Graphite: one connection, one thread, and no point lost quietly."""

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

# What was late leaves at this speed, so that a carbon that just came back is not buried.
LATE_RATE = 50_000.0  # points a second
RETRY_MOST = 10.0  # seconds
# Of a spool file that is gone, or none of ours. What else keeps us from reading it may pass.
LOST = frozenset((errno.ENOENT, errno.EINVAL, errno.ELOOP))
IDLE = 1.0  # seconds between two looks whether Graphite has closed the connection


class Transport(Protocol):
    """What Delivery needs of a sender, as `CarbonConnection` has it."""

    @property
    def is_connected(self) -> bool: ...

    def check_peer(self) -> None: ...

    def connect(self) -> None: ...

    def close_confirmed(self, timeout: float) -> None: ...

    def send(self, lines: bytes) -> None: ...

    def close(self) -> None: ...


class Delivery:
    """Sends what the outbox holds, fresh first, late at a limited speed, and tries again."""

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
        self._late_at = 0.0  # no late batch before
        self._retry_at = 0.0  # no connect before
        self._retry = 0.0
        self._connected_at = 0.0
        self._was_connected = False

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            pause = self.step()
            if self._transport.is_connected:
                self._outbox.wait(pause)
            else:
                stop.wait(pause)

    def step(self) -> float:
        """Send one batch if one can be sent now; how long there is nothing to do, in seconds."""
        now = self._clock()
        if not self._is_connected():
            # Also when there is nothing to send: what was sent last may be lost.
            if now < self._retry_at:
                return self._retry_at - now
            if not self._connect():
                return self._retry
        parcel = self._outbox.next(late=now >= self._late_at)
        if parcel is None:
            # What is no carbon answers, or hangs up, on what it was sent; a carbon stays.
            if now - self._connected_at >= IDLE:
                self._retry = 0.0
                self._problems.clear("graphite", "Graphite takes points again")
            return min(IDLE, max(0.0, self._late_at - now)) or IDLE
        return self._send(parcel)

    def finish(self, timeout: float) -> bool:
        """Send all that is left, at any speed, within `timeout` seconds; true if all was read."""
        end = self._clock() + timeout
        while self._outbox.total_backlog and self._clock() < end:
            self._late_at = 0.0
            if not self._is_connected() and not self._connect():
                return False
            parcel = self._outbox.next(late=True)
            if parcel is not None and self._send(parcel) and self._transport.is_connected:
                return False  # its file cannot be read now
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
            if error.errno not in LOST:
                self._late_at = self._clock() + RETRY_MOST
                self._problems.report(
                    f"spool {parcel.file}",
                    f"spool file {parcel.file} cannot be read now: {error.strerror}",
                )
                return RETRY_MOST / 10
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
        # Full jitter, so that the collectors of many hosts do not return in step.
        self._retry = min(RETRY_MOST, max(0.5, self._retry * 2))
        self._retry_at = self._clock() + self._retry * random.uniform(0.5, 1.0)
        self._problems.report("graphite", f"{error}; points are kept and sent later")
