"""Send batches of points to carbon through graphyte, from a thread of its own."""

import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from graphyte import Sender
from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import quote_answer, socket_reason
from beanwatch.telemetry.logging.problems import ProblemLog

LIMIT = 4 * 1024 * 1024  # bytes of batches that wait or were sent within RESEND
MAX_SEND = 256 * 1024  # bytes in one send
TIMEOUT = 5.0  # seconds, for a connect and for a send
ANSWERS_WITHIN = 0.5  # seconds in which a server that is not carbon answers or hangs up
RESEND = 60.0  # seconds: a peer that dies loses what it received last
CHECK_EVERY = 1.0  # seconds between two checks whether carbon closed the connection
MAX_PAUSE = 30.0  # seconds between two attempts to connect


class Batch(NamedTuple):
    """The lines of one interval; `points` is counted when they are lost."""

    lines: bytes
    points: int


class GraphiteDelivery:
    """Keeps batches until graphyte has sent them. No method waits, except `close`.

    graphyte opens a connection for each send and cannot tell whether carbon read it. So one
    connection of our own stays open. `first_line` (given the points dropped so far) goes over it:
    carbon never answers, so whatever answers is no carbon and gets no points. When it breaks, all
    that was sent within the last minute is sent again, since Graphite overwrites a point with the
    same one.
    """

    def __init__(
        self,
        address: Address,
        first_line: Callable[[int], bytes],
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0  # points
        self._address = address
        self._first_line = first_line
        self._problems = ProblemLog(log)
        self._clock = clock
        self._wake = threading.Condition()
        self._waiting: deque[Batch] = deque()
        self._sent: deque[tuple[float, Batch]] = deque()
        self._size = 0  # bytes in both
        self._watched: socket.socket | None = None  # used by the thread only
        self._sender: Sender | None = None
        self._failures = 0  # to connect, in a row
        self._retry_at = 0.0
        self._dropped_before = 0
        self._must_finish = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="beanwatch-graphite", daemon=True)
        self._start()

    @property
    def is_connected(self) -> bool:
        """True while the connection to carbon stands, as far as is known."""
        return self._watched is not None

    def put(self, batch: Batch) -> None:
        """Take a batch over. The oldest ones make room for it: first those that were sent."""
        with self._wake:
            self._waiting.append(batch)
            self._size += len(batch.lines)
            while self._size > LIMIT and self._sent:
                self._size -= len(self._sent.popleft()[1].lines)
            while self._size > LIMIT:
                oldest = self._waiting.popleft()
                self._size -= len(oldest.lines)
                self.dropped += oldest.points
            self._wake.notify()

    def close(self, timeout: float) -> None:
        """Send what waits within `timeout` seconds, and count the rest as dropped."""
        with self._wake:
            self._must_finish = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        with self._wake:
            self._is_closed = True
            self.dropped += sum(batch.points for batch in self._waiting)
            self._waiting.clear()
            self._wake.notify()

    def _start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads: batches wait, and the oldest are dropped
            self._report(str(error))

    def _run(self) -> None:
        while True:
            pause = self._step()
            with self._wake:
                if self._is_closed or (self._must_finish and not self._waiting):
                    break
                if pause and not (self._waiting and self.is_connected):
                    self._wake.wait(pause)
        if self._watched is not None:
            self._watched.close()

    def _step(self) -> float:
        """Connect, or send once; returns after how many seconds to call again. Raises nothing."""
        if not self.is_connected and (left := self._retry_at - self._clock()) > 0:
            return left
        try:
            if self._watched is None:
                self._connect()
            elif said := self._read_answer(self._watched):
                raise OSError(said)
            batches = self._pick()
            if not batches or self._sender is None:
                return CHECK_EVERY
            self._sender.send_socket(b"".join(batch.lines for batch in batches))
        except Exception as error:  # also what a resolver raises for an odd name: try again later
            return self._disconnect(error)
        self._settle(batches)
        return 0.0

    def _connect(self) -> None:
        sock = connect(self._address, TIMEOUT)
        try:
            sock.sendall(self._first_line(self.dropped))
            if said := self._read_answer(sock, ANSWERS_WITHIN):
                raise OSError(said)
            host, port = sock.getpeername()[:2]
        except BaseException:
            sock.close()
            raise
        # The address is resolved already: graphyte looks its host up for each send.
        self._sender = Sender(host, port, timeout=TIMEOUT, raise_send_errors=True)
        self._watched = sock
        self._failures = 0
        lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
        self._problems.clear(
            "graphite", "{server} is back", server=f"graphite {self._address}", lost=lost
        )

    def _disconnect(self, error: Exception) -> float:
        """Close the connection and queue again what may be lost; the pause before the next try."""
        was_connected = self._watched is not None
        if self._watched is not None:
            self._watched.close()
            self._watched = None
        now = self._clock()
        with self._wake:
            again = [batch for sent_at, batch in self._sent if now - sent_at <= RESEND]
            self._size -= sum(len(batch.lines) for _, batch in self._sent)
            self._size += sum(len(batch.lines) for batch in again)
            self._sent.clear()
            self._waiting.extendleft(reversed(again))
        pause = random.uniform(0.01, min(MAX_PAUSE, 0.5 * 2.0**self._failures))
        self._retry_at = now + pause
        if not was_connected:  # a break that the next connect mends is not worth a line
            self._failures = min(self._failures + 1, 10)
            self._report(
                socket_reason(error, TIMEOUT) if isinstance(error, OSError) else str(error)
            )
        return pause

    def _report(self, reason: str) -> None:
        self._problems.report(
            "graphite",
            "{server} cannot be reached: {reason}; keeping what can be kept, counting the rest",
            server=f"graphite {self._address}",
            reason=reason,
        )

    def _read_answer(self, sock: socket.socket, timeout: float = 0.0) -> str:
        """Why this connection is of no use: the peer answered or hung up. "" if it did neither."""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return ""
        said = sock.recv(40)
        if said:
            return f"this is no carbon, it answered {quote_answer(said)}"
        return "it closed the connection"

    def _pick(self) -> list[Batch]:
        """The oldest batches that wait, for one send. They wait until they are sent."""
        picked: list[Batch] = []
        size = 0
        with self._wake:
            for batch in self._waiting:
                if picked and size + len(batch.lines) > MAX_SEND:
                    break
                picked.append(batch)
                size += len(batch.lines)
        return picked

    def _settle(self, batches: list[Batch]) -> None:
        """These were sent: keep them for a minute, in case the peer dies."""
        now = self._clock()
        with self._wake:
            for batch in batches:
                if self._waiting and self._waiting[0] is batch:  # not dropped meanwhile
                    self._waiting.popleft()
                    self._sent.append((now, batch))
            while self._sent and now - self._sent[0][0] > RESEND:
                self._size -= len(self._sent.popleft()[1].lines)
