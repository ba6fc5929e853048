"""The worker's session with beanstalkd: every operation bounded, one doubt and it is closed.

Two threads use it. The main thread reserves and acknowledges; the pulse touches the job
that is held. The lock is held for each exchange except the wait for a job, in which nothing
is held and so nothing is touched. Replies to touches are not waited for: whoever reads
next skips them, so that a silent server cannot hold up the pulse.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import quote_answer, socket_reason
from beanwatch.queues.beanstalkd.stats import parse_list, parse_stats
from beanwatch.worker.core.decide import Facts, parse_facts
from beanwatch.worker.core.wire import NonsenseError, Wire

OPERATION = 2.0  # seconds for one exchange
MARGIN = 5.0  # seconds over the reserve timeout before a silent server is given up
RESERVE_NOW = b"reserve-with-timeout 0\r\n"
REFUSALS = frozenset((b"JOB_TOO_BIG", b"DRAINING", b"OUT_OF_MEMORY"))
ENDINGS = frozenset((b"DELETED", b"RELEASED", b"BURIED", b"NOT_FOUND"))


class SessionError(Exception):
    """The session is closed: the server is gone, silent, or did not make sense."""


class RefusedError(Exception):
    """The server refused to put a job (JOB_TOO_BIG, DRAINING); the session lives."""


class Reserved(Struct, frozen=True):
    """A job that this session holds."""

    id: int
    body: bytes


class Session:
    """Connections to one server, one at a time, that watch `tubes` and nothing else."""

    def __init__(
        self,
        address: Address,
        tubes: Sequence[str],
        reserve_timeout: float | None,
        *,
        timeout: float = OPERATION,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self.address = address
        self.server_id = ""
        self.peer: Any = None  # where the socket really went, for a connect without a name lookup
        self.held = 0  # the id of the reserved job
        self.unanswered = 0  # touches of it
        self.is_gone = False  # it: a touch found it with another worker
        self._tubes = [tube.encode() for tube in tubes]
        if reserve_timeout is None:  # the caller selects, so the job is there when it is read
            self._reserve, self._patience = b"reserve\r\n", timeout
        else:
            # Whole seconds on the wire; at least 1, as 0 would be a busy loop.
            seconds = max(1, round(reserve_timeout))
            self._reserve = b"reserve-with-timeout %d\r\n" % seconds
            self._patience = seconds + MARGIN
        self._timeout = timeout
        self._open_socket = open_socket
        self._lock = threading.Lock()
        self._exchange = _Exchange(self._lock, self._fail)
        self._wire: Wire | None = None
        self._using = b"default"
        self._is_reserving = False  # a reserve was sent, its answer may take its time
        self.is_promised = False  # one was sent that is answered at once, perhaps with a job
        self._is_waiting = False  # for a job, with nothing held: safe to interrupt

    @property
    def is_open(self) -> bool:
        """Connected, as far as anybody knows."""
        return self._wire is not None

    def open(self) -> None:
        """Connect, watch, ignore the rest, and verify it. Raises SessionError."""
        with self._exchange:
            wire = self._wire = Wire(self._open_socket(self.address, self._timeout), self._timeout)
            self._using, self.unanswered = b"default", 0
            watch = [b"watch " + tube for tube in self._tubes]
            if b"default" not in self._tubes:
                watch.append(b"ignore default")
            # In one write, so that a far server costs one round trip.
            wire.send(b"\r\n".join((*watch, b"list-tubes-watched", b"stats", b"")))
            for _ in watch:
                self._expect(wire, b"WATCHING ")
            watched = parse_list(self._read_stats(wire))
            if set(watched) != {tube.decode() for tube in self._tubes}:
                raise NonsenseError(f"it watches {watched}, not what it was told to")
            self.server_id = str(parse_stats(self._read_stats(wire)).get("id", ""))
            self.peer = wire.peer()

    def close(self) -> None:
        """Close; the server gives the job that is held to another worker."""
        self._is_reserving = self.is_promised = False
        self.held = 0
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def interrupt(self) -> None:
        """End a wait for a job, from another thread or a signal handler. The session is over.

        Unless the answer is there: it may be a job, which has to be given back.
        """
        wire = self._wire
        if wire is not None and self._is_waiting and not wire.has_news() and self._is_waiting:
            wire.shut_down()  # asked twice: a look at the socket gives the other thread a turn

    def fileno(self) -> int:
        """The socket, to select on."""
        return self._connected().fileno()

    def start_reserve(self) -> None:
        """Ask for a job; `reserve` then only reads the answer. Raises SessionError."""
        with self._exchange:
            self._connected().send(self._reserve)
            self._is_reserving = True

    def reserve(self, is_wanted: Callable[[], bool]) -> Reserved | None:
        """Wait for a job. None after the reserve timeout. Raises SessionError.

        A job that came with the last acknowledgement is returned though it is not wanted: it is
        in hand, and the end of the connection would count as a run that nobody ended.
        `is_wanted` is asked after `_is_waiting` is set: whoever wants no more jobs first
        says so there and then interrupts, and one of the two is seen.
        """
        try:
            wire = self._connected()
            if self.is_promised and (reserved := self._take(wire, self._timeout)):
                return reserved
            self._is_waiting = True
            if not is_wanted():
                raise SessionError("no job is wanted")
            if not self._is_reserving:
                wire.send(self._reserve)
            return self._take(wire, self._patience)
        except BaseException as error:
            raise self._fail(error) from None
        finally:
            self._is_waiting = False

    def _take(self, wire: Wire, patience: float) -> Reserved | None:
        reserved = self._read_reserved(wire, patience)
        self._is_reserving = self.is_promised = self.is_gone = False
        if reserved is not None:
            self.held = reserved.id
        return reserved

    def facts(self, job_id: int) -> Facts:
        """`stats-job` of the job that is held. Raises SessionError."""
        with self._exchange:
            wire = self._connected()
            wire.send(b"stats-job %d\r\n" % job_id)
            facts = parse_facts(self._read_stats(wire))
            if facts.id != job_id:  # one job is never judged by the numbers of another
                raise NonsenseError(f"asked about job {job_id}, it answered about {facts.id}")
            return facts

    def touch(self, wait: float) -> bool:
        """Give the job its full time to run again; does not wait for the answer.

        False when the lock was not free within `wait` seconds, or nothing is held.
        """
        if not self._lock.acquire(timeout=wait):
            return False
        try:
            wire = self._wire
            if wire is None or not self.held:
                return False
            while self.unanswered and (line := wire.read_line_now()) is not None:
                self._take_touched(line)
            wire.send_now(b"touch %d\r\n" % self.held)
            self.unanswered += 1
            return True
        except (OSError, NonsenseError):
            self.close()
            return False
        finally:
            self._lock.release()

    def put(self, tube: str, body: bytes, priority: int, delay: int, ttr: int) -> int:
        """Put a job and return its id. Raises RefusedError, SessionError."""
        name = tube.encode()
        with self._exchange:
            wire = self._connected()
            if name != self._using:
                wire.send(b"use %b\r\n" % name)
                self._expect(wire, b"USING ")
                self._using = name
            wire.send(b"put %d %d %d %d\r\n%b\r\n" % (priority, delay, ttr, len(body), body))
            line = self._answer(wire)
            if line in REFUSALS:
                raise RefusedError(line.decode())
            word, _, job_id = line.partition(b" ")
            if word != b"INSERTED":
                # BURIED is a job that the server could not queue: as good as lost.
                raise _unexpected(line)
            return int(job_id)

    def acknowledge(self, command: bytes, *, and_reserve: bool) -> bytes:
        """Delete, release or bury what is held; the answer.

        `and_reserve` asks for the next job in the same write, if one is ready. Raises SessionError,
        after which nobody knows whether the server got it.
        """
        with self._exchange:
            wire = self._connected()
            wire.send(command + RESERVE_NOW if and_reserve else command)
            line = self._answer(wire)
            self.held = 0
            if line not in ENDINGS:
                raise _unexpected(line)
            self.is_promised = and_reserve
            return line

    def _read_reserved(self, wire: Wire, patience: float) -> Reserved | None:
        line = wire.read_line(patience)
        word, _, numbers = line.partition(b" ")
        if word == b"RESERVED":
            job_id, _, size = numbers.partition(b" ")
            return Reserved(int(job_id), wire.read_body(size))
        if word == b"TIMED_OUT":
            return None
        # DEADLINE_SOON is of a job that we do not know of: closing gives it back.
        raise _unexpected(line)

    def _connected(self) -> Wire:
        if self._wire is None:
            raise SessionError(f"{self.address}: the connection was lost")
        return self._wire

    def _answer(self, wire: Wire) -> bytes:
        while self.unanswered:
            self._take_touched(wire.read_line())
        return wire.read_line()

    def _take_touched(self, line: bytes) -> None:
        self.unanswered -= 1
        if line == b"NOT_FOUND":
            self.is_gone = True
        elif line != b"TOUCHED":
            raise _unexpected(line)

    def _expect(self, wire: Wire, start: bytes) -> bytes:
        """What comes after `start` in the line that is answered."""
        line = self._answer(wire)
        if not line.startswith(start):
            raise _unexpected(line)
        return line[len(start) :]

    def _read_stats(self, wire: Wire) -> bytes:
        return wire.read_body(self._expect(wire, b"OK "))

    def _fail(self, error: BaseException) -> BaseException:
        """Close, and say what went wrong; what is no fault of the wire's stays what it is."""
        self.close()
        if isinstance(error, OSError):
            return SessionError(f"{self.address}: {socket_reason(error, self._timeout)}")
        if isinstance(error, KeyError):
            return SessionError(f"{self.address}: its answer has no field {error}")
        if isinstance(error, ValueError):
            return SessionError(f"{self.address}: {error}")
        return error


class _Exchange:
    """Holds the lock; whatever goes wrong in it but a refusal closes the session.

    Also an exception of the alarm's in the middle of an answer. A class, as it is entered
    twice a job and a generator would take three times as long.
    """

    def __init__(
        self, lock: threading.Lock, fail: Callable[[BaseException], BaseException]
    ) -> None:
        self._lock, self._fail = lock, fail

    def __enter__(self) -> None:
        if not self._lock.acquire(True, 2 * OPERATION):
            raise SessionError("another thread does not let go of the connection")

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        try:
            if error is not None and not isinstance(error, RefusedError):
                failed = self._fail(error)
                if failed is not error:
                    raise failed from None
        finally:
            self._lock.release()


def _unexpected(line: bytes) -> NonsenseError:
    return NonsenseError(f"it answered {quote_answer(line[:40])}")
