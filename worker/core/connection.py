"""Defines the worker's connection to beanstalkd.

Every operation has a timeout; on any unexpected reply the connection is closed.

Several threads use it: the main thread reserves and acknowledges jobs, the pulse thread touches the
reserved job, and threads that a handler started may put jobs. A thread holds the lock while it
sends a command and reads the reply. Only the wait for a job needs no lock: no job is reserved then,
so no other thread uses the socket. `touch` does not wait for its reply, so that a silent server
cannot block the pulse thread. The next read skips the replies to touches.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason
from beanwatch.queues.beanstalkd.stats import instance_of, parse_list, parse_stats
from beanwatch.worker.core import connection_protocol as protocol
from beanwatch.worker.core.connection_protocol import Action, JobStats, Reserved
from beanwatch.worker.core.line_socket import BadReplyError, LineSocket

EXCHANGE_TIMEOUT = 2.0  # seconds
RESERVE_MARGIN = 5.0  # seconds after the reserve timeout: then a silent server counts as lost


class ConnectionLostError(Exception):
    """Raised when the connection to beanstalkd was closed.

    The server went away, did not reply within the timeout, or sent an unexpected reply.
    """


class RefusedError(Exception):
    """Raised when a job was not put. The connection stays open.

    The server refused the job (JOB_TOO_BIG, DRAINING, OUT_OF_MEMORY), or the running job that
    wanted to put it has ended.
    """


class WorkerConnection:
    """Reserves, touches, puts and acknowledges jobs over one connection to one beanstalkd server.

    The connection watches exactly `queues`. beanstalkd waits up to `reserve_timeout` seconds for a
    job. With None it waits without limit; then the caller must poll `fileno` and call `reserve`
    only when a reply has arrived. `timeout` (seconds) limits each other exchange.
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
        self.server_id = ""  # identifies the server's process: its `id`, or its pid before 1.9
        self.peer: Any = None  # the socket's remote address, for connecting without a name lookup
        self.job_id = 0  # the reserved job; 0: none
        self.unanswered_touches = 0  # touches of this job that have no reply yet
        self.job_was_taken_away = False  # beanstalkd answered NOT_FOUND to a touch
        # A reserve was sent together with the last acknowledgement; its reply may contain a job.
        self.reserve_is_pipelined = False
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
        self._reserve_is_pending = False  # `start_reserve` sent a reserve; its reply is unread
        self._is_waiting = False  # the main thread waits for a job, so `interrupt` may end the wait

    @property
    def is_open(self) -> bool:
        """Return True from `open` until `close` or a failed exchange with the server."""
        return self._socket is not None

    def open(self) -> None:
        """Connect, watch `queues`, and verify that the server watches no other for this connection.

        Raises ConnectionLostError.
        """
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
                raise BadReplyError(
                    f"the worker asked to watch {self._queues}, but the server watches {watched}"
                )
            self.server_id = instance_of(parse_stats(self._read_body(lines))) or ""
            self.peer = lines.peer()

    def close(self) -> None:
        """Close the connection. beanstalkd then releases the reserved job, for any worker."""
        self._reserve_is_pending = self.reserve_is_pipelined = False
        self.job_id = 0
        lines, self._socket = self._socket, None
        if lines is not None:
            lines.close()

    def interrupt(self) -> None:
        """End the main thread's wait for a job, by closing the connection.

        Any thread and any signal handler may call this. It does nothing if a reply has arrived
        already: the reply may contain a job, which must be handled.
        """
        lines = self._socket
        if lines is not None and self._is_waiting and not lines.has_input() and self._is_waiting:
            # Checked twice: polling the socket releases the interpreter lock, so the main thread
            # may have stopped waiting in between.
            lines.shut_down()

    def fileno(self) -> int:
        """Return the socket's file descriptor, for `poll`. Raises ConnectionLostError if closed."""
        return self._connected().fileno()

    def start_reserve(self) -> None:
        """Send a reserve; a later `reserve` only reads the reply. Raises ConnectionLostError."""
        with self._exchange:
            self._connected().send(self._reserve)
            self._reserve_is_pending = True

    def reserve(self, is_wanted: Callable[[], bool]) -> Reserved | None:
        """Wait for a job; None if none came within the reserve timeout. Raises ConnectionLostError.

        A job already received with the last acknowledgement is returned even if `is_wanted()` is
        false: if the connection were closed instead, beanstalkd would count a run that nobody
        acknowledged. `_is_waiting` is set before `is_wanted` is called, so that no stop is missed:
        either `is_wanted` returns false, or `interrupt` ends the wait.
        """
        try:
            lines = self._connected()
            if self.reserve_is_pipelined and (reserved := self._read_job(lines, self._timeout)):
                return reserved
            self._is_waiting = True
            if not is_wanted():
                raise ConnectionLostError("the worker takes no jobs now, so it did not reserve one")
            if not self._reserve_is_pending:
                lines.send(self._reserve)
            return self._read_job(lines, self._reserve_limit)
        except BaseException as error:
            raise self._fail(error) from None
        finally:
            self._is_waiting = False

    def job_stats(self, job_id: int) -> JobStats:
        """Send `stats-job` and return the parsed reply. Raises ConnectionLostError."""
        with self._exchange:
            lines = self._connected()
            lines.send(protocol.encode_job_stats(job_id))
            return protocol.parse_job_stats(self._read_body(lines), job_id)

    def touch(self, wait: float) -> bool:
        """Send `touch`, which restarts the reserved job's TTR. Does not wait for the reply.

        Returns False if nothing was sent: the lock was not free within `wait` seconds, no job is
        reserved, or the connection failed.
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
        """Put a job and return its id; `delay` and `ttr` are whole seconds.

        If `during_job` is given, that job must be reserved. The lock is held from this check until
        the reply is read. Otherwise the job could end in between: then the main thread waits for
        the next job without the lock, and could read this reply, or this thread could read that
        job, because replies carry no id.

        Raises RefusedError, ConnectionLostError.
        """
        name = queue.encode()
        with self._exchange:
            lines = self._connected()
            if during_job and self.job_id != during_job:
                raise RefusedError("the job has ended, so its threads cannot put jobs any more")
            if name != self._used_queue:
                lines.send(protocol.encode_use(name))
                self._expect(lines, b"USING ")
                self._used_queue = name
            lines.send(protocol.encode_put(body, priority, delay, ttr))
            line = self._read_reply(lines)
            if line in protocol.PUT_REFUSALS:
                raise RefusedError(line.decode())
            return protocol.parse_inserted(line)

    def is_watched(self, queue: str) -> bool:
        """Return True if a connection watches the queue. Raises ConnectionLostError."""
        with self._exchange:
            lines = self._connected()
            lines.send(protocol.encode_queue_stats(queue.encode()))
            line = self._read_reply(lines)
            if line == b"NOT_FOUND":
                return False
            if not line.startswith(b"OK "):
                raise protocol.unexpected_reply(line)
            return parse_stats(lines.read_body(line[3:])).get("current-watching", 0) != 0

    def acknowledge(
        self,
        action: Action,
        job_id: int,
        priority: int = 0,
        delay: float = 0.0,
        *,
        and_reserve: bool = False,
    ) -> bool:
        """Delete, release (after `delay` seconds) or bury the reserved job.

        Returns False if beanstalkd answered NOT_FOUND: the job's TTR had passed, so this worker did
        not hold the job any more. `and_reserve` also reserves the next job, if one is ready, in the
        same write. Raises ConnectionLostError; then it is unknown whether the server executed the
        command.
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
            raise ConnectionLostError(f"{self.address}: the connection to beanstalkd is closed")
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
        """Read the next line, which must begin with `start`, and return the rest of it."""
        line = self._read_reply(lines)
        if not line.startswith(start):
            raise protocol.unexpected_reply(line)
        return line[len(start) :]

    def _read_body(self, lines: LineSocket) -> bytes:
        return lines.read_body(self._expect(lines, b"OK "))

    def _fail(self, error: BaseException) -> BaseException:
        """Close the connection, and return the exception that the caller must raise.

        Socket and protocol errors become ConnectionLostError; others are returned unchanged.
        """
        self.close()
        if isinstance(error, OSError):
            return ConnectionLostError(f"{self.address}: {socket_reason(error, self._timeout)}")
        if isinstance(error, KeyError):
            return ConnectionLostError(f"{self.address}: the reply to stats-job lacks {error}")
        if isinstance(error, ValueError):
            return ConnectionLostError(f"{self.address}: {error}")
        return error


class _Exchange:
    """Holds the lock while a command is sent and its reply is read.

    Any exception except RefusedError closes the connection, also one that the alarm raises before
    the reply was read. This is a class because it is entered twice per job, and a generator-based
    context manager takes three times as long.
    """

    def __init__(
        self, lock: threading.Lock, fail: Callable[[BaseException], BaseException]
    ) -> None:
        self._lock, self._fail = lock, fail

    def __enter__(self) -> None:
        if not self._lock.acquire(True, 2 * EXCHANGE_TIMEOUT):
            raise ConnectionLostError(
                "another thread used the connection to beanstalkd for more than "
                f"{2 * EXCHANGE_TIMEOUT:g} s"
            )

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        try:
            if error is not None and not isinstance(error, RefusedError):
                failed = self._fail(error)
                if failed is not error:
                    raise failed from None
        finally:
            self._lock.release()
