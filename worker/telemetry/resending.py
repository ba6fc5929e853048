"""A connection that is written to without waiting, and that sends again what a break may lose."""

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from beanwatch.net.dialer import Dialer
from beanwatch.telemetry.logging.problems import ProblemLog

LIMIT = 4 * 1024 * 1024  # bytes of messages that wait, or were sent and are not confirmed
_MAX_BATCH = 256  # messages in one system call
_TRY_EVERY = 32  # messages
_MAX_CALLS = 16  # system calls in one flush: the main thread may be waiting for the lock
# What a socket raises that does not block and cannot go on now.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class OutgoingMessage(Struct):
    """Bytes that are sent whole or not at all. `weight` is what is counted when they are lost."""

    data: bytes
    weight: int = 1
    may_repeat: bool = True  # it does no harm to send it again when it may have arrived
    is_probe: bool = False  # asks for an answer, which confirms everything sent before it


class ResendingConnection:
    """Sends messages in order over one connection, from any thread. Only `close` waits.

    When the connection breaks, what was not confirmed is sent again over the next one, except for
    messages that may not be repeated. All that is lost is counted in `dropped`, by weight.
    Subclasses say what confirms a message: see `_on_connect`, `_on_data` and `_check`.
    """

    def __init__(
        self,
        name: str,
        dial: Callable[[], socket.socket],
        log: FilteringBoundLogger,
        *,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._name = name
        self._problems = ProblemLog(log)
        self._limit = limit
        self._clock = clock
        self._dialer = Dialer(dial, clock=clock)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._waiting: deque[OutgoingMessage] = deque()
        self._sent: deque[OutgoingMessage] = deque()  # not confirmed
        self._offset = 0  # bytes of the first waiting message that are sent
        self._size = 0  # bytes in both
        self._break_reason = ""  # why there is no connection
        self._dropped_before = 0
        self._dialer.poll()

    @property
    def is_connected(self) -> bool:
        """True if the last flush found a connection."""
        return self._socket is not None

    @property
    def is_unfinished(self) -> bool:
        """True while a message waits to be sent or confirmed."""
        return bool(self._waiting or self._sent)

    def write(self, message: OutgoingMessage) -> None:
        """Send a message now if that is possible, else keep it; drop it if there is no room."""
        with self._lock:
            if self._socket is None:
                self._connect()
            self._make_room(len(message.data))
            if self._size + len(message.data) > self._limit:
                self.dropped += message.weight
                return
            self._waiting.append(message)
            self._size += len(message.data)
            # While the reader is slow, do not try for every message.
            if self._socket is not None and len(self._waiting) % _TRY_EVERY == 1:
                self._send()

    def flush(self) -> None:
        """Connect if need be, send what waits, read what was confirmed. To be called each tick."""
        with self._lock:
            if self._socket is None:
                self._connect()
            if self._socket is not None:
                self._receive()
            if self._socket is not None:
                self._send()
            self._check()
            is_connected = self._socket is not None
        self._report(is_connected)

    def close(self, timeout: float) -> None:
        """Send what waits within `timeout` seconds, and count the rest as dropped."""
        end = self._clock() + timeout
        self.flush()
        while self.is_unfinished and self._clock() < end:
            time.sleep(0.005)
            self.flush()
        self._dialer.close()
        with self._lock:
            self.dropped += sum(message.weight for message in (*self._waiting, *self._sent))
            self._waiting.clear()
            self._sent.clear()
            self._size = 0
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _on_connect(self) -> None:
        """Called with the lock held when there is a new connection."""

    def _on_data(self, data: bytes) -> None:
        """Called with what the server sent. Raises OSError to give the connection up."""

    def _check(self) -> None:
        """Called at each flush: ask for a confirmation, or give the connection up."""

    def _connect(self) -> None:
        self._socket = self._dialer.poll()
        if self._socket is not None:
            self._on_connect()
        self._break_reason = self._break_reason or self._dialer.error

    def _confirm_oldest(self) -> OutgoingMessage:
        message = self._sent.popleft()
        self._size -= len(message.data)
        return message

    def _make_room(self, needed: int) -> None:
        # Only without a connection: with one, a part of the first message may be sent, and TLS
        # must be given the same bytes again.
        while self._socket is None and self._waiting and self._size + needed > self._limit:
            oldest = self._waiting.popleft()
            self._size -= len(oldest.data)
            self.dropped += oldest.weight

    def _send(self) -> None:
        try:
            for _ in range(_MAX_CALLS):
                if not self._waiting or self._socket is None:
                    return
                batch = b"".join(message.data for message in islice(self._waiting, _MAX_BATCH))
                self._account(self._socket.send(batch[self._offset :]))
        except _NOT_NOW:
            return
        except OSError as error:
            self._break(error)

    def _account(self, sent: int) -> None:
        """Move the messages that these bytes complete from waiting to sent."""
        sent += self._offset
        while self._waiting and sent >= len(self._waiting[0].data):
            message = self._waiting.popleft()
            sent -= len(message.data)
            self._sent.append(message)
        self._offset = sent

    def _receive(self) -> None:
        try:
            while self._socket is not None:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                self._on_data(data)
        except _NOT_NOW:
            return
        except OSError as error:
            self._break(error)

    def _break(self, error: OSError) -> None:
        """Close the connection, and put what may not have arrived first into the queue again."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._break_reason = str(error)
        if self._offset and not self._waiting[0].may_repeat:  # the server may have a part of it
            partial = self._waiting.popleft()
            self._size -= len(partial.data)
            self.dropped += partial.weight
        self._offset = 0
        while self._sent:
            message = self._sent.pop()
            if message.may_repeat:
                self._waiting.appendleft(message)
            else:
                self._size -= len(message.data)
                self.dropped += message.weight

    def _report(self, is_connected: bool) -> None:
        """Log a break that the next connect did not mend, and its end."""
        if is_connected:
            lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
            self._break_reason = ""
            self._problems.clear("connection", "{server} is back", server=self._name, lost=lost)
        elif self._break_reason and self._dialer.error:
            self._problems.report(
                "connection",
                "{server} cannot be reached: {reason}; keeping what can be kept, counting the rest",
                server=self._name,
                reason=self._break_reason,
            )
