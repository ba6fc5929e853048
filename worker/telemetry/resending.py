"""A connection that is written to and never waited for: bounded, resent when it broke, counted."""

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

LIMIT = 4 * 1024 * 1024  # bytes of messages that wait, or are sent and not confirmed
_BATCH = 256  # messages in one system call
_TRY_EVERY = 32  # messages
_ROUNDS = 16  # system calls in one flush: the main thread may be waiting for the lock
# Whatever says "not now" of a socket that does not block.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Message(Struct):
    """Bytes that go out whole or not at all. `weight` is what is counted when they are lost."""

    data: bytes
    weight: int = 1
    again: bool = True  # may be sent once more when nobody knows whether it arrived
    is_probe: bool = False  # asks for an answer, which confirms all that was sent before
    sent_at: float = 0.0


class Outlet:
    """Messages over one connection, from any thread, in order; no call waits.

    What a broken connection leaves unconfirmed is sent again over the next one.
    Subclasses say what confirms: `_received` and `_settle`.
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
        self._log = log
        self._limit = limit
        self._clock = clock
        self._dialer = Dialer(dial, clock=clock)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._queue: deque[Message] = deque()
        self._sent: deque[Message] = deque()
        self._offset = 0  # bytes of the queue's first message that are sent
        self._size = 0  # bytes in both
        self._trouble = ""  # why there is no connection; told once
        self._told = False
        self._dropped_before = 0
        self._dialer.poll()

    def write(self, message: Message) -> None:
        """Send a message now if that is possible, else keep it."""
        with self._lock:
            if self._socket is None:
                self._connect()
            self._make_room(len(message.data))
            if self._size + len(message.data) > self._limit:
                self.dropped += message.weight
                return
            self._queue.append(message)
            self._size += len(message.data)
            # Of what piles up before a slow reader, try now and then only.
            if self._socket is not None and len(self._queue) % _TRY_EVERY == 1:
                self._send()

    def flush(self) -> None:
        """Connect if need be, send what waits, see what was confirmed. Once a tick."""
        with self._lock:
            if self._socket is None:
                self._connect()
            if self._socket is not None:
                self._receive()
            if self._socket is not None:
                self._send()
            self._settle()
            connected = self._socket is not None
        self._tell(connected)

    def close(self, timeout: float) -> None:
        """Give what waits `timeout` seconds to go out, and count the rest as dropped."""
        end = self._clock() + timeout
        self.flush()
        while self.unfinished and self._clock() < end:
            time.sleep(0.005)
            self.flush()
        self._dialer.close()
        with self._lock:
            unsent = [*self._queue, *(self._sent if self._confirms else ())]
            self.dropped += sum(message.weight for message in unsent)
            self._queue.clear()
            self._sent.clear()
            self._size = 0
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    _confirms = False

    @property
    def is_connected(self) -> bool:
        """True while there is a connection; the last flush decided."""
        return self._socket is not None

    @property
    def unfinished(self) -> bool:
        """True while a message waits, or for its confirmation where there is one."""
        return bool(self._queue or (self._confirms and self._sent))

    def _connect(self) -> None:
        self._socket = self._dialer.poll()
        if self._socket is not None:
            self._greet()
        self._trouble = self._trouble or self._dialer.error

    def _greet(self) -> None:
        """Called with the lock held, when there is a new connection."""

    def _received(self, data: bytes) -> None:
        """What the other side sent; raises OSError when it is no use to go on with it."""

    def _settle(self) -> None:
        """Called at each flush, to let go of sent messages or to ask about them."""

    def _drop_oldest_sent(self) -> Message:
        message = self._sent.popleft()
        self._size -= len(message.data)
        return message

    def _make_room(self, needed: int) -> None:
        # Only without a connection: the first message may be half sent, and TLS insists on
        # being given the same bytes again.
        while self._socket is None and self._queue and self._size + needed > self._limit:
            oldest = self._queue.popleft()
            self._size -= len(oldest.data)
            self.dropped += oldest.weight

    def _send(self) -> None:
        try:
            for _ in range(_ROUNDS):
                if not self._queue or self._socket is None:
                    return
                batch = b"".join(message.data for message in islice(self._queue, _BATCH))
                self._account(self._socket.send(batch[self._offset :]))
        except _NOT_NOW:
            return
        except OSError as error:
            self._lose(error)

    def _account(self, sent: int) -> None:
        sent += self._offset
        now = self._clock()
        while self._queue and sent >= len(self._queue[0].data):
            message = self._queue.popleft()
            sent -= len(message.data)
            message.sent_at = now
            self._sent.append(message)
        self._offset = sent

    def _receive(self) -> None:
        try:
            while self._socket is not None:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                self._received(data)
        except _NOT_NOW:
            return
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """The connection broke: what is not known to have arrived goes first over the next one."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._trouble = str(error)
        if self._offset and not self._queue[0].again:  # half of it may be done
            half = self._queue.popleft()
            self._size -= len(half.data)
            self.dropped += half.weight
        self._offset = 0
        while self._sent:
            message = self._sent.pop()
            if message.again:
                self._queue.appendleft(message)
            else:
                self._size -= len(message.data)
                self.dropped += message.weight

    def _tell(self, connected: bool) -> None:
        # A connection that breaks and is back within a tick is no news.
        if connected:
            if self._told:
                lost = self.dropped - self._dropped_before
                self._log.info("{server} is back", server=self._name, lost=lost)
            self._told, self._trouble, self._dropped_before = False, "", self.dropped
        elif self._trouble and self._dialer.error and not self._told:
            self._told = True
            self._log.warning(
                "{server} cannot be reached: {reason}; keeping what can be kept, counting the rest",
                server=self._name,
                reason=self._trouble,
            )
