"""ResendingConnection: sends messages without waiting, and again if the connection breaks."""

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

MAX_KEPT = 4 * 1024 * 1024  # bytes of unsent messages and of sent, unconfirmed messages
_MAX_BATCH = 256  # messages in one system call
_TRY_EVERY = 32  # messages queued between two attempts to send
_MAX_CALLS = 16  # system calls in one flush: the main thread may be waiting for the lock
# A non-blocking socket raises these when it can neither read nor write now.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class OutgoingMessage(Struct):
    """Bytes that are sent as a whole or dropped. If they are dropped, `weight` counts as lost."""

    data: bytes
    weight: int = 1
    may_repeat: bool = True  # the server may receive it twice without harm
    is_probe: bool = False  # requests a reply, which confirms all messages sent before it


class ResendingConnection:
    """Sends messages in order over one connection, from any thread. Only `close` waits.

    If the connection breaks, unconfirmed messages are sent again over the next one, except for
    those with `may_repeat` false. `dropped` is the total weight of lost messages. `limit` is the
    size of the buffer in bytes. Subclasses implement confirmations in `_on_connect`, `_on_data` and
    `_check`. `dial` returns a connected socket; `name` stands for the server in log lines.
    """

    def __init__(
        self,
        name: str,
        dial: Callable[[], socket.socket],
        log: FilteringBoundLogger,
        *,
        limit: int = MAX_KEPT,
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
        self._sent: deque[OutgoingMessage] = deque()  # sent and not confirmed
        self._offset = 0  # bytes of the first waiting message that were sent already
        self._size = 0  # bytes in `_waiting` and `_sent`
        self._break_reason = ""  # why there is no connection
        self._dropped_before = 0
        self._dialer.poll()

    @property
    def is_connected(self) -> bool:
        """True if there was a connection at the last flush or write."""
        return self._socket is not None

    @property
    def is_unfinished(self) -> bool:
        """True while a message is not yet sent or not yet confirmed."""
        return bool(self._waiting or self._sent)

    def write(self, message: OutgoingMessage) -> None:
        """Queue a message, and send it if the socket is ready. If the buffer is full, drop data.

        Without a connection the oldest messages are dropped, else the new one.
        """
        with self._lock:
            if self._socket is None:
                self._connect()
            self._make_room(len(message.data))
            if self._size + len(message.data) > self._limit:
                self.dropped += message.weight
                return
            self._waiting.append(message)
            self._size += len(message.data)
            # If the server reads slowly, do not try again for every message.
            if self._socket is not None and len(self._waiting) % _TRY_EVERY == 1:
                self._send()

    def flush(self) -> None:
        """Connect if needed, send queued messages, read confirmations. Call this at each tick."""
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
        """Send the queued messages within `timeout` seconds; count unconfirmed ones as dropped."""
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
        """Prepare for a new connection. Called with the lock held; for subclasses."""

    def _on_data(self, data: bytes) -> None:
        """Handle data from the server. Raises OSError to close the connection; for subclasses."""

    def _check(self) -> None:
        """Request a confirmation, or close the connection. Called at each flush; for subclasses."""

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
        # Only without a connection: otherwise a part of the first message may have been sent, and
        # TLS must be given the same bytes again.
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
        """Move the messages that are sent completely, now that `sent` more bytes are sent."""
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
        """Close the connection, and put unconfirmed messages back at the front of the queue."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._break_reason = str(error)
        if self._offset and not self._waiting[0].may_repeat:  # the server may have received a part
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
        """Log when reconnecting has failed too, and when a connection works again."""
        if is_connected:
            lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
            self._break_reason = ""
            self._problems.clear(
                "connection",
                "sending to {server} again, messages lost: {lost}",
                server=self._name,
                lost=lost,
            )
        elif self._break_reason and self._dialer.error:
            self._problems.report(
                "connection",
                "cannot send to {server}: {reason}; retrying, and dropping the oldest data if full",
                server=self._name,
                reason=self._break_reason.removeprefix(f"{self._name}: "),
            )
