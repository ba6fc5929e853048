"""The worker's connection to beanstalkd.

Every operation has a timeout; on any unexpected reply the connection is closed.

Two threads use it. The main thread reserves jobs and acknowledges them; the pulse thread touches
the reserved job, and a handler's threads may put jobs. Each exchange holds the lock, except for the
wait for a job: then no job is reserved, and so nobody else uses the socket. The replies to touches
are not awaited: whoever reads next skips them, so that a silent server cannot hold up the pulse.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason
from beanwatch.queues.beanstalkd.stats import parse_list, parse_stats
from beanwatch.worker.core import connection_protocol as protocol
from beanwatch.worker.core.connection_protocol import Action, JobStats, Reserved
from beanwatch.worker.core.line_socket import BadReplyError, LineSocket

EXCHANGE_TIMEOUT = 2.0  # seconds
RESERVE_MARGIN = 5.0  # seconds over the reserve timeout before a silent server is given up


class ConnectionLostError(Exception):
    """The connection is closed: the server is gone, silent, or sent an unexpected reply."""


class RefusedError(Exception):
    """A job was not put: the server refused it (JOB_TOO_BIG, DRAINING), or its job is over.

    The connection stays open.
    """


class WorkerConnection:
    """One connection at a time to one server. It watches `queues` and no other.

    `reserve_timeout` (seconds) is how long the server waits for a job. None: without end, for a
    caller that polls `fileno` and reads only when a job has arrived.
    """

    def __init__(
        self,
        address: Address,
        queues: Sequence[str],
        reserve_timeout: float | None,
        *,
        timeout: float = EXCHANGE_TIMEOUT,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self.address = address
        self.server_id = ""  # `id` in the server's stats
        self.peer: Any = None  # the connected address: to connect again without a name lookup
        self.job_id = 0  # the reserved job; 0: none
        self.unanswered_touches = 0  # of this job
        self.job_was_taken_away = False  # a touch was answered NOT_FOUND: another worker has it
        self.reserve_is_pipelined = False  # sent with the last acknowledgement; may bring a job
        self._queues = list(queues)
        if reserve_timeout is None:
            self._reserve, self._reserve_limit = protocol.RESERVE, timeout
        else:
            self._reserve = protocol.encode_reserve(reserve_timeout)
            self._reserve_limit = max(1.0, reserve_timeout) + RESERVE_MARGIN
        self._timeout = timeout
        self._open_socket = open_socket
        self._lock = threading.Lock()
        self._exchange = _Exchange(self._lock, self._fail)
        self._socket: LineSocket | None = None
        self._used_queue = b"default"
        self._reserve_is_pending = False  # sent by `start_reserve`
        self._is_waiting = False  # for a job, and none is reserved: `interrupt` may end it

    @property
    def is_open(self) -> bool:
        """True if connected, as far as is known."""
        return self._socket is not None

    def open(self) -> None:
        """Connect, and verify that exactly `queues` are watched. Raises ConnectionLostError."""
        with self._exchange:
            connected = self._open_socket(self.address, self._timeout)
            lines = self._socket = LineSocket(connected, self._timeout)
            self._used_queue, self.unanswered_touches = b"default", 0
            commands = protocol.encode_open(self._queues)
            lines.send(commands)
            for _ in range(commands.count(b"\r\n") - 2):
                self._expect(lines, b"WATCHING ")
            watched = parse_list(self._read_body(lines))
            if set(watched) != set(self._queues):
                raise BadReplyError(f"it watches {watched}, not the queues it was told to")
            self.server_id = str(parse_stats(self._read_body(lines)).get("id", ""))
            self.peer = lines.peer()

    def close(self) -> None:
        """Close the connection. The server gives a reserved job to another worker."""
        self._reserve_is_pending = self.reserve_is_pipelined = False
        self.job_id = 0
        lines, self._socket = self._socket, None
        if lines is not None:
            lines.close()

    def interrupt(self) -> None:
        """End a wait for a job, from another thread or a signal handler; closes the connection.

        Does nothing if a reply has arrived: it may hold a job, which has to be handled.
        """
        lines = self._socket
        if lines is not None and self._is_waiting and not lines.has_input() and self._is_waiting:
            # Checked twice: polling the socket releases the interpreter lock, so the main thread
            # may have stopped waiting in between.
            lines.shut_down()

    def fileno(self) -> int:
        """The socket's file descriptor, to poll."""
        return self._connected().fileno()

    def start_reserve(self) -> None:
        """Ask for a job; `reserve` then only reads the reply. Raises ConnectionLostError."""
        with self._exchange:
            self._connected().send(self._reserve)
            self._reserve_is_pending = True

    def reserve(self, is_wanted: Callable[[], bool]) -> Reserved | None:
        """Wait for a job; None after the reserve timeout. Raises ConnectionLostError.

        A job already received with the last acknowledgement is returned even if `is_wanted()` is
        false: closing the connection now would count as an unfinished run. `_is_waiting` is set
        before `is_wanted` is called, so a concurrent stop is noticed by one or the other.
        """
        try:
            lines = self._connected()
            if self.reserve_is_pipelined and (reserved := self._read_job(lines, self._timeout)):
                return reserved
            self._is_waiting = True
            if not is_wanted():
                raise ConnectionLostError("no job is wanted")
            if not self._reserve_is_pending:
                lines.send(self._reserve)
            return self._read_job(lines, self._reserve_limit)
        except BaseException as error:
            raise self._fail(error) from None
        finally:
            self._is_waiting = False

    def job_stats(self, job_id: int) -> JobStats:
        """`stats-job` of the reserved job. Raises ConnectionLostError."""
        with self._exchange:
            lines = self._connected()
            lines.send(protocol.encode_job_stats(job_id))
            return protocol.parse_job_stats(self._read_body(lines), job_id)

    def touch(self, wait: float) -> bool:
        """Start the reserved job's time to run anew; does not wait for the reply.

        False if the lock was not free within `wait` seconds, or if no job is reserved.
        """
        if not self._lock.acquire(timeout=wait):
            return False
        try:
            lines = self._socket
            if lines is None or not self.job_id:
                return False
            while self.unanswered_touches and (line := lines.read_line_now()) is not None:
                self._take_touch_reply(line)
            lines.send_now(protocol.encode_touch(self.job_id))
            self.unanswered_touches += 1
            return True
        except (OSError, BadReplyError):
            self.close()
            return False
        finally:
            self._lock.release()

    def put(
        self,
        queue: str,
        body: bytes,
        priority: int,
        delay: int,
        ttr: int,
        *,
        during_job: int = 0,
    ) -> int:
        """Put a job and return its id. Raises RefusedError, ConnectionLostError.

        `during_job`: only while this job is reserved. The lock is held from this check to the
        reply: replies carry no id, so after the job's end the main thread, which waits for the next
        job without the lock, would read this reply, or this thread would read its job.
        """
        name = queue.encode()
        with self._exchange:
            lines = self._connected()
            if during_job and self.job_id != during_job:
                raise RefusedError("the job is over: its threads can put no more jobs")
            if name != self._used_queue:
                lines.send(protocol.encode_use(name))
                self._expect(lines, b"USING ")
                self._used_queue = name
            lines.send(protocol.encode_put(body, priority, delay, ttr))
            line = self._read_reply(lines)
            if line in protocol.PUT_REFUSALS:
                raise RefusedError(line.decode())
            return protocol.parse_inserted(line)

    def acknowledge(
        self,
        action: Action,
        job_id: int,
        priority: int = 0,
        delay: float = 0.0,
        *,
        and_reserve: bool = False,
    ) -> bool:
        """Delete, release or bury the reserved job. False if the server had given it away.

        `and_reserve` asks for the next job in the same write, if one is ready. Raises
        ConnectionLostError; then it is unknown whether the server got the command.
        """
        command = protocol.encode_end(action, job_id, priority, delay)
        with self._exchange:
            lines = self._connected()
            lines.send(command + protocol.RESERVE_NOW if and_reserve else command)
            line = self._read_reply(lines)
            self.job_id = 0
            if line not in protocol.ACKNOWLEDGED:
                raise protocol.unexpected_reply(line)
            self.reserve_is_pipelined = and_reserve
            return line != b"NOT_FOUND"

    def _connected(self) -> LineSocket:
        if self._socket is None:
            raise ConnectionLostError(f"{self.address}: the connection was lost")
        return self._socket

    def _read_job(self, lines: LineSocket, timeout: float) -> Reserved | None:
        found = protocol.parse_reserve(lines.read_line(timeout))
        reserved = found and Reserved(found[0], lines.read_body(found[1]))
        self._reserve_is_pending = self.reserve_is_pipelined = self.job_was_taken_away = False
        if reserved is not None:
            self.job_id = reserved.id
        return reserved

    def _read_reply(self, lines: LineSocket) -> bytes:
        while self.unanswered_touches:
            self._take_touch_reply(lines.read_line())
        return lines.read_line()

    def _take_touch_reply(self, line: bytes) -> None:
        self.unanswered_touches -= 1
        if line == b"NOT_FOUND":
            self.job_was_taken_away = True
        elif line != b"TOUCHED":
            raise protocol.unexpected_reply(line)

    def _expect(self, lines: LineSocket, start: bytes) -> bytes:
        """The rest of the next line, which must begin with `start`."""
        line = self._read_reply(lines)
        if not line.startswith(start):
            raise protocol.unexpected_reply(line)
        return line[len(start) :]

    def _read_body(self, lines: LineSocket) -> bytes:
        return lines.read_body(self._expect(lines, b"OK "))

    def _fail(self, error: BaseException) -> BaseException:
        """Close the connection, and return the error to raise.

        Socket and protocol errors become ConnectionLostError; anything else is returned unchanged.
        """
        self.close()
        if isinstance(error, OSError):
            return ConnectionLostError(f"{self.address}: {socket_reason(error, self._timeout)}")
        if isinstance(error, KeyError):
            return ConnectionLostError(f"{self.address}: its answer has no field {error}")
        if isinstance(error, ValueError):
            return ConnectionLostError(f"{self.address}: {error}")
        return error


class _Exchange:
    """Holds the lock during an exchange. Any error except RefusedError closes the connection.

    That includes an exception that the alarm raises before the reply has been read. A class,
    because it is entered twice a job and a generator takes three times as long.
    """

    def __init__(
        self, lock: threading.Lock, fail: Callable[[BaseException], BaseException]
    ) -> None:
        self._lock, self._fail = lock, fail

    def __enter__(self) -> None:
        if not self._lock.acquire(True, 2 * EXCHANGE_TIMEOUT):
            raise ConnectionLostError("another thread keeps the connection busy")

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        try:
            if error is not None and not isinstance(error, RefusedError):
                failed = self._fail(error)
                if failed is not error:
                    raise failed from None
        finally:
            self._lock.release()
