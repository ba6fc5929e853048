"""The worker's connection to beanstalkd: every operation bounded, one doubt and it is closed.

Two threads use it. The main thread reserves and acknowledges; the pulse touches the job
that is held. `lock` is held for each exchange except the wait for a job, in which nothing
is held and so nothing is touched. Replies to touches are not waited for: whoever reads
next skips them, so that a silent server cannot hold up the pulse.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from beanwatch.collectors.address import Address, connect
from beanwatch.collectors.protocol import WITH_BODY, WORDS, describe
from beanwatch.collectors.stats import parse_list, parse_stats
from beanwatch.worker.decide import Facts, parse_facts

OPERATION = 2.0  # seconds for one exchange
MARGIN = 5.0  # seconds over the reserve timeout before a silent server is given up
MAX_LINE = 1024
MAX_BODY = 1 << 30  # beanstalkd allows no larger job


class SessionError(Exception):
    """The session is closed: the server is gone, silent, or did not make sense."""


class RefusedError(Exception):
    """The server refused one command (JOB_TOO_BIG, DRAINING, OUT_OF_MEMORY); the session lives."""


class Reserved(NamedTuple):
    """A job that this session holds."""

    id: int
    body: bytes


class Session:
    """One connection that watches `tubes` and nothing else."""

    def __init__(
        self,
        address: Address,
        tubes: Sequence[str],
        reserve_timeout: float | None,
        *,
        timeout: float = OPERATION,
        open_socket: Callable[[Address, float], socket.socket] = connect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.server_id = ""
        self.peer: Any = None  # where the socket really went, for a connect without a name lookup
        self.held = 0  # the id of the reserved job
        self.is_waiting = False  # for a job, with nothing held: safe to interrupt
        self.is_open = False
        self.lock = threading.Lock()
        self._tubes = [tube.encode() for tube in tubes]
        if reserve_timeout is None:  # the caller selects, so the job is there when it is read
            self._reserve, self._patience = b"reserve\r\n", timeout
        else:
            # Whole seconds on the wire; at least 1, as 0 would be a busy loop.
            seconds = max(1, round(reserve_timeout))
            self._reserve = b"reserve-with-timeout %d\r\n" % seconds
            self._patience = seconds + MARGIN
        self._is_reserving = False
        self._timeout = timeout
        self._clock = clock
        self._open_socket = open_socket
        self._socket: socket.socket | None = None
        self._buffer = b""
        self.unanswered = 0  # touches, whose replies were not read yet
        self._using = b"default"

    def open(self) -> None:
        """Connect, watch, ignore the rest, and verify it. Raises SessionError."""
        with self._exchange(is_opening=True):
            self._socket = self._open_socket(self.address, self._timeout)
            self._socket.settimeout(self._timeout)
            self._buffer, self.unanswered, self._using = b"", 0, b"default"
            watch = [b"watch " + tube for tube in self._tubes]
            if b"default" not in self._tubes:
                watch.append(b"ignore default")
            # In one write, so that a far server costs one round trip.
            self._send(b"\r\n".join((*watch, b"list-tubes-watched", b"stats", b"")))
            for _ in watch:
                self._expect(b"WATCHING")
            watched = parse_list(self._expect(b"OK"))
            if set(watched) != {tube.decode() for tube in self._tubes}:
                raise SessionError(f"{self.address}: watches {watched}, not what it was told to")
            self.server_id = str(parse_stats(self._expect(b"OK")).get("id", ""))
            self.peer = self._socket.getpeername()
            self.is_open = True

    def close(self) -> None:
        """Close; the server gives the job that is held to another worker."""
        self.is_open = self._is_reserving = False
        self.held = 0
        if self._socket is not None:
            self._socket.close()

    def interrupt(self) -> None:
        """End a wait for a job, from another thread or a signal handler. The session is over."""
        if self.is_waiting and self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is gone already, which ends the wait as well

    def fileno(self) -> int:
        """The socket, to select on."""
        return self._sock.fileno()

    def start_reserve(self) -> None:
        """Ask for a job; `reserve` then only reads the answer. Raises SessionError."""
        with self._exchange():
            self._send(self._reserve)
            self._is_reserving = True

    def reserve(self, is_wanted: Callable[[], bool]) -> Reserved | None:
        """Wait for a job. None after the reserve timeout. Raises SessionError.

        `is_wanted` is asked after `is_waiting` is set: whoever wants no more jobs first
        says so there and then interrupts, and one of the two is seen.
        """
        self.is_waiting = True
        try:
            if not is_wanted():
                raise SessionError("no job is wanted")
            if not self._is_reserving:
                self._send(self._reserve)
            self._sock.settimeout(self._patience)
            word, args, body = self._reply(self._clock() + self._patience)
            self._sock.settimeout(self._timeout)
            self._is_reserving = False
            if word == b"TIMED_OUT":
                return None
            if word != b"RESERVED":
                # DEADLINE_SOON is of a job that we do not know of: closing gives it back.
                raise self._unexpected(word)
            self.held = int(args[0])
            return Reserved(self.held, body)
        except (OSError, ValueError, IndexError) as error:
            self.close()
            raise self._error(error) from None
        except BaseException:
            self.close()
            raise
        finally:
            self.is_waiting = False

    def facts(self, job_id: int) -> Facts:
        """`stats-job` of the job that is held. Raises SessionError."""
        with self._exchange():
            self._send(b"stats-job %d\r\n" % job_id)
            return parse_facts(self._expect(b"OK"))

    def touch(self, wait: float) -> bool:
        """Give the job its full time to run again; does not wait for the answer.

        False when the lock was not free within `wait` seconds or nothing is held.
        """
        if not self.lock.acquire(timeout=wait):
            return False
        try:
            if not self.held:
                return False
            self._skim()
            self._sock.settimeout(0)
            try:
                self._sock.send(b"touch %d\r\n" % self.held)
            finally:
                self._sock.settimeout(self._timeout)
            self.unanswered += 1
            return True
        except (OSError, SessionError):
            self.close()
            return False
        finally:
            self.lock.release()

    def put(self, tube: str, body: bytes, priority: int, delay: int, ttr: int) -> int:
        """Put a job and return its id. Raises RefusedErrorError, SessionError."""
        name = tube.encode()
        with self._exchange():
            if name != self._using:
                self._send(b"use %b\r\n" % name)
                self._expect(b"USING")
                self._using = name
            self._send(b"put %d %d %d %d\r\n%b\r\n" % (priority, delay, ttr, len(body), body))
            word, args, _ = self._answer()
            if word in (b"JOB_TOO_BIG", b"DRAINING", b"OUT_OF_MEMORY"):
                raise RefusedError(word.decode())
            if word != b"INSERTED" or not args:
                # BURIED is a job that the server could not queue: as good as lost.
                raise self._unexpected(word)
            return int(args[0])

    def acknowledge(self, command: bytes, *, and_reserve: bool) -> bytes:
        """Delete, release or bury what is held; the first word of the answer.

        `and_reserve` asks for the next job in the same write. Raises SessionError, after
        which nobody knows whether the server got it.
        """
        with self._exchange():
            self._send(command + self._reserve if and_reserve else command)
            word = self._answer()[0]
            self.held = 0
            if word not in (b"DELETED", b"RELEASED", b"BURIED", b"NOT_FOUND"):
                raise self._unexpected(word)
            self._is_reserving = and_reserve
            return word

    # -- the wire

    @property
    def _sock(self) -> socket.socket:
        if self._socket is None:
            raise SessionError(f"{self.address}: not connected")
        return self._socket

    @contextmanager
    def _exchange(self, *, is_opening: bool = False) -> Iterator[None]:
        """Under the lock; whatever goes wrong but a refusal closes the session."""
        with self.lock:
            try:
                if not (self.is_open or is_opening):
                    raise SessionError(f"{self.address}: the connection was lost")
                yield
            except RefusedError:
                raise
            except (OSError, ValueError, LookupError) as error:
                self.close()
                raise self._error(error) from None
            except BaseException:  # also an alarm of the handler's in the middle of a reply
                self.close()
                raise

    def _send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def _expect(self, expected: bytes) -> bytes:
        """The body of an answer that starts with this word."""
        word, _, body = self._answer()
        if word != expected:
            raise self._unexpected(word)
        return body

    def _answer(self) -> tuple[bytes, list[bytes], bytes]:
        end = self._clock() + self._timeout
        while self.unanswered:
            self._reply(end)
            self.unanswered -= 1
        return self._reply(end)

    def _skim(self) -> None:
        """Read the replies to earlier touches that have come, without waiting."""
        while self.unanswered:
            if b"\r\n" not in self._buffer:
                try:
                    data = self._sock.recv(4096, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return
                if not data:
                    raise SessionError(f"{self.address}: the server closed the connection")
                self._buffer += data
                continue
            self._reply(0.0)
            self.unanswered -= 1

    def _reply(self, end: float) -> tuple[bytes, list[bytes], bytes]:
        while (at := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise self._unexpected(self._buffer[:40])
            self._more(end)
        word, *args = self._buffer[:at].split(b" ")
        if word not in WORDS:
            raise self._unexpected(self._buffer[: min(at, 40)])
        start = at + 2
        if word not in WITH_BODY:
            self._buffer = self._buffer[start:]
            return word, args, b""
        size = int(args[-1])
        if not 0 <= size <= MAX_BODY:
            raise self._unexpected(word)
        while len(self._buffer) < start + size + 2:
            self._more(end)
        body, stop = self._buffer[start : start + size], start + size
        if self._buffer[stop : stop + 2] != b"\r\n":
            raise self._unexpected(body[-40:])
        self._buffer = self._buffer[stop + 2 :]
        return word, args, body

    def _more(self, end: float) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self._buffer += data
        if self._clock() > end:
            raise TimeoutError

    def _error(self, error: Exception) -> SessionError:
        if isinstance(error, OSError):
            return SessionError(f"{self.address}: {describe(error, self._timeout)}")
        return SessionError(f"{self.address}: an unreadable answer ({error})")

    def _unexpected(self, what: bytes) -> SessionError:
        return SessionError(f"{self.address}: expected another answer than {what!r}")
