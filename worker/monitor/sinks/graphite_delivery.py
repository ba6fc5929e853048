"""GraphiteDelivery: a thread that sends batches of points to carbon with the graphyte package."""

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

MAX_KEPT = 4 * 1024 * 1024  # bytes of unsent batches and of batches sent within RESEND_WINDOW
MAX_SEND = 256 * 1024  # bytes in one send; a larger batch is sent alone
SEND_TIMEOUT = 5.0  # seconds for connecting, and for each send
ANSWER_WAIT = 0.5  # seconds to wait for an answer, which shows that the server is not carbon
RESEND_WINDOW = 60.0  # seconds; a carbon that crashes loses the points that it received last
CHECK_INTERVAL = 1.0  # seconds between two checks whether carbon has closed the connection
MAX_PAUSE = 30.0  # seconds; longest pause between two attempts to connect


class Batch(NamedTuple):
    """The lines of one interval in Graphite's plaintext protocol, and how many points they have."""

    lines: bytes
    points: int


class GraphiteDelivery:
    """Queues batches and sends them in a thread. Only `close` waits for the network.

    graphyte opens a connection for each send and cannot tell whether carbon has read the points.
    So a second connection to carbon stays open, to detect a crash. When it breaks, the batches of
    the last RESEND_WINDOW seconds are sent again. Duplicates do no harm: Graphite overwrites a
    point with an equal one.

    `first_line(dropped)` returns a line that is sent first over the second connection; `dropped` is
    the number of points lost so far. carbon never answers. A server that answers it is not carbon
    and gets no points.
    """

    def __init__(
        self,
        address: Address,
        first_line: Callable[[int], bytes],
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0  # points lost so far
        self._address = address
        self._first_line = first_line
        self._problems = ProblemLog(log)
        self._clock = clock
        self._wake = threading.Condition()
        self._waiting: deque[Batch] = deque()
        self._sent: deque[tuple[float, Batch]] = deque()
        self._size = 0  # bytes in `_waiting` and `_sent`
        self._watched: socket.socket | None = None  # the second connection; for the thread only
        self._sender: Sender | None = None
        self._failures = 0  # consecutive failures to connect
        self._retry_at = 0.0
        self._dropped_before = 0
        self._must_finish = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="beanwatch-graphite", daemon=True)
        self._start()

    @property
    def is_connected(self) -> bool:
        """True while there is a connection to carbon that is not known to be closed."""
        return self._watched is not None

    def put(self, batch: Batch) -> None:
        """Queue a batch. If it does not fit, drop the oldest batches: first sent, then unsent ones.

        Only unsent batches count as dropped.
        """
        with self._wake:
            self._waiting.append(batch)
            self._size += len(batch.lines)
            while self._size > MAX_KEPT and self._sent:
                self._size -= len(self._sent.popleft()[1].lines)
            while self._size > MAX_KEPT:
                oldest = self._waiting.popleft()
                self._size -= len(oldest.lines)
                self.dropped += oldest.points
            self._wake.notify()

    def close(self, timeout: float) -> None:
        """Send the queued batches within `timeout` seconds, and count the rest as dropped."""
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
        except RuntimeError as error:  # no more threads: batches are queued, and later dropped
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
        """Connect or send once. Return the seconds to wait before the next call. Raises nothing."""
        if not self.is_connected and (left := self._retry_at - self._clock()) > 0:
            return left
        try:
            if self._watched is None:
                self._connect()
            elif said := self._read_answer(self._watched):
                raise OSError(said)
            batches = self._pick()
            if not batches or self._sender is None:
                return CHECK_INTERVAL
            self._sender.send_socket(b"".join(batch.lines for batch in batches))
        except Exception as error:  # not only OSError: a resolver may raise others for odd names
            return self._disconnect(error)
        self._mark_sent(batches)
        return 0.0

    def _connect(self) -> None:
        sock = connect(self._address, SEND_TIMEOUT)
        try:
            sock.sendall(self._first_line(self.dropped))
            if said := self._read_answer(sock, ANSWER_WAIT):
                raise OSError(said)
            host, port = sock.getpeername()[:2]
        except BaseException:
            sock.close()
            raise
        # Give graphyte the IP address: it would resolve a host name for each send.
        self._sender = Sender(host, port, timeout=SEND_TIMEOUT, raise_send_errors=True)
        self._watched = sock
        self._failures = 0
        lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
        self._problems.clear(
            "graphite",
            "sending to {server} again, points lost: {lost}",
            server=f"graphite {self._address}",
            lost=lost,
        )

    def _disconnect(self, error: Exception) -> float:
        """Close the connection and queue again the batches that may be lost.

        Return the pause in seconds before the next attempt to connect.
        """
        was_connected = self._watched is not None
        if self._watched is not None:
            self._watched.close()
            self._watched = None
        now = self._clock()
        with self._wake:
            again = [batch for sent_at, batch in self._sent if now - sent_at <= RESEND_WINDOW]
            self._size -= sum(len(batch.lines) for _, batch in self._sent)
            self._size += sum(len(batch.lines) for batch in again)
            self._sent.clear()
            self._waiting.extendleft(reversed(again))
        pause = random.uniform(0.01, min(MAX_PAUSE, 0.5 * 2.0**self._failures))
        self._retry_at = now + pause
        if not was_connected:  # log only failed connects: most broken connections reconnect at once
            self._failures = min(self._failures + 1, 10)
            self._report(
                socket_reason(error, SEND_TIMEOUT) if isinstance(error, OSError) else str(error)
            )
        return pause

    def _report(self, reason: str) -> None:
        self._problems.report(
            "graphite",
            "cannot send to {server}: {reason}; retrying, and dropping the oldest points when full",
            server=f"graphite {self._address}",
            reason=reason,
        )

    def _read_answer(self, sock: socket.socket, timeout: float = 0.0) -> str:
        """Return why the connection is unusable: the server has answered or closed it. Else ""."""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return ""
        said = sock.recv(40)
        if said:
            return f"this is not carbon: it answered {quote_answer(said)}"
        return "the server closed the connection"

    def _pick(self) -> list[Batch]:
        """Return the oldest queued batches for one send. They stay queued until they are sent."""
        picked: list[Batch] = []
        size = 0
        with self._wake:
            for batch in self._waiting:
                if picked and size + len(batch.lines) > MAX_SEND:
                    break
                picked.append(batch)
                size += len(batch.lines)
        return picked

    def _mark_sent(self, batches: list[Batch]) -> None:
        """Keep batches that were sent for RESEND_WINDOW seconds, in case carbon crashes."""
        now = self._clock()
        with self._wake:
            for batch in batches:
                if self._waiting and self._waiting[0] is batch:  # not dropped meanwhile
                    self._waiting.popleft()
                    self._sent.append((now, batch))
            while self._sent and now - self._sent[0][0] > RESEND_WINDOW:
                self._size -= len(self._sent.popleft()[1].lines)
