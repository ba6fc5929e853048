"""GraphiteDelivery: a thread that sends batches of points to carbon with the graphyte package."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from graphyte import Sender
from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.net.errors import socket_reason
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.worker.monitor.sinks.carbon_watch import CarbonWatch

MAX_KEPT = 4 * 1024 * 1024  # bytes of batches that wait or were sent within RESEND_WINDOW
MAX_SEND = 256 * 1024  # bytes in one send; a larger batch is sent alone
SEND_TIMEOUT = 5.0  # seconds for connecting, and for each send
READ_TIMEOUT = 60.0  # seconds for carbon to read what was sent; then it is sent again
SLOW_AFTER = 10.0  # seconds; a carbon that takes longer to read is a problem
RESEND_WINDOW = 60.0  # seconds; a carbon that crashes loses the points that it received last
CHECK_INTERVAL = 1.0  # seconds between two checks whether carbon has closed the connection
MAX_PAUSE = 30.0  # seconds; longest pause between two attempts to connect


class Batch(NamedTuple):
    """The lines of one interval in Graphite's plaintext protocol, and how many points they have."""

    lines: bytes
    points: int


class GraphiteDelivery:
    """Queues batches and sends them in a thread. Only `close` waits for the network.

    graphyte cannot tell whether carbon has read the points, so `CarbonWatch` asks carbon after each
    send. Until carbon answers, nothing else is sent, and the batches wait. If its connection
    breaks, they are sent again, and so are those of the last RESEND_WINDOW seconds: a carbon that
    crashes loses what it has not stored yet. Duplicates do no harm: Graphite overwrites a point
    with an equal one.

    Not noticed is the loss of graphyte's connection alone: it was reset after our kernel had taken
    all points, while carbon went on and answered.

    `first_line(dropped)` returns a line that is sent first over a connection; `dropped` is the
    number of points lost so far.
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
        self._asked: list[Batch] = []  # the first of `_waiting`: sent, and carbon was asked
        self._asked_at = 0.0
        self._sent: deque[tuple[float, Batch]] = deque()  # carbon has read these
        self._size = 0  # bytes in `_waiting` and `_sent`
        self._watch = CarbonWatch(address, SEND_TIMEOUT)  # for the thread only
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
        return self._watch.is_connected

    def put(self, batch: Batch) -> None:
        """Queue a batch. If it does not fit, drop the oldest, first those that carbon has read.

        All others count as dropped, also if it is not known whether carbon has read them.
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
        """Send the queued batches within `timeout` seconds; count unconfirmed ones as dropped."""
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
        self._watch.close()

    def _step(self) -> float:
        """Connect, send or ask once; return the seconds to wait before the next call.

        Raises nothing.
        """
        if not self.is_connected and (left := self._retry_at - self._clock()) > 0:
            return left
        try:
            if not self.is_connected:
                self._connect()
            self._watch.check()
            if self._asked:
                self._wait_for_answer()
            elif batches := self._pick():
                self._send(batches)
            else:
                return CHECK_INTERVAL
        except Exception as error:  # not only OSError: a resolver may raise others for odd names
            return self._disconnect(error)
        return 0.0

    def _send(self, batches: list[Batch]) -> None:
        if self._sender is not None:
            self._sender.send_socket(b"".join(batch.lines for batch in batches))
        self._watch.ask()
        self._asked, self._asked_at = batches, self._clock()

    def _wait_for_answer(self) -> None:
        """Wait one CHECK_INTERVAL for carbon's answer. Raises TimeoutError after READ_TIMEOUT."""
        if self._watch.has_answered(CHECK_INTERVAL):
            self._mark_sent(self._asked)
            self._asked = []
            self._clear()
        elif (waited := self._clock() - self._asked_at) > READ_TIMEOUT:
            raise TimeoutError
        elif waited > SLOW_AFTER:
            self._report("it does not read what was sent")

    def _connect(self) -> None:
        # Give graphyte the IP address: it would resolve a host name for each send.
        where = self._watch.connect(self._first_line(self.dropped))
        self._sender = Sender(where.host, where.port, timeout=SEND_TIMEOUT, raise_send_errors=True)
        self._failures = 0

    def _clear(self) -> None:
        lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
        self._problems.clear(
            "graphite",
            "sending to {server} again, points lost: {lost}",
            server=f"graphite {self._address}",
            lost=lost,
        )

    def _disconnect(self, error: Exception) -> float:
        """Close the connections and queue again the batches that may be lost.

        Return the pause in seconds before the next attempt to connect.
        """
        was_connected = self.is_connected
        self._watch.close()
        self._asked = []
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
        """Keep batches that carbon has read for RESEND_WINDOW seconds, in case it crashes."""
        now = self._clock()
        with self._wake:
            for batch in batches:
                if self._waiting and self._waiting[0] is batch:  # not dropped meanwhile
                    self._waiting.popleft()
                    self._sent.append((now, batch))
            while self._sent and now - self._sent[0][0] > RESEND_WINDOW:
                self._size -= len(self._sent.popleft()[1].lines)
