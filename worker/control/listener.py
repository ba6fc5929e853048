"""Listener: receives commands from the worker's control queue, over a separate connection."""

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.worker.control.inbox import CommandInbox
from beanwatch.worker.control.messages import (
    CONTROL_PRIORITY,
    CONTROL_TTR,
    Answer,
    Message,
    control_queue,
    encode,
)
from beanwatch.worker.core.connection import ConnectionLostError, RefusedError, WorkerConnection
from beanwatch.worker.core.decide import decide_reconnect
from beanwatch.worker.monitor.internal_errors import InternalErrors

ANSWER_TIMEOUT = 2.0  # seconds for each reply, in a thread that guards nothing
EXCHANGE_TIMEOUT = 0.5  # seconds for each reply; short, since the pulse thread waits meanwhile


class Listener:
    """Reserves commands from the control queue and passes them to `handle`.

    `handle` returns the answer, or None if `answer_later` will be called with it.

    Runs in the pulse thread, the worker's background thread.

    `find_server` returns the IP address of the main thread's connection, or None while there is
    none: a name lookup here could block the thread. If the connection fails, nothing is raised: the
    worker keeps running jobs, and the listener reconnects later. If `secret` is not empty, commands
    that are not signed with it are refused.
    """

    def __init__(
        self,
        find_server: Callable[[], Address | None],
        worker: str,
        instance: str,
        handle: Callable[[Message], Answer | None],
        errors: InternalErrors,
        log: FilteringBoundLogger,
        *,
        secret: bytes = b"",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_server, self._worker, self._log = find_server, worker, log
        self._inbox = CommandInbox(
            worker, instance, handle, errors, log, secret=secret, clock=clock
        )
        self._clock = clock
        self._connection: WorkerConnection | None = None
        self._failures = 0
        self._next_try = 0.0

    def fileno(self) -> int | None:
        """Return the connection's file descriptor, for poll(2); None if there is no connection."""
        return self._connection.fileno() if self._connection else None

    def tick(self) -> None:
        """Connect and start a reserve, if there is no connection and the next attempt is due."""
        if self._connection is not None or self._clock() < self._next_try:
            return
        address = self._find_server()
        if address is None:
            return
        queues = [control_queue(self._worker)]
        connection = WorkerConnection(address, queues, None, timeout=EXCHANGE_TIMEOUT)
        # Set it before `open`, so that a child that is forked meanwhile closes it.
        self._connection = connection
        try:
            connection.open()
            connection.start_reserve()
        except ConnectionLostError:
            self._give_up(connection)
            return
        self._failures = 0

    def receive(self) -> None:
        """Carry out one command and send its answer. Call this when `fileno` is readable."""
        connection = self._connection
        if connection is None:
            return
        try:
            reserved = connection.reserve(lambda: True)
            if reserved is None:
                return
            age = connection.job_stats(reserved.id).age
            # Delete the command first: otherwise a stop would also stop the next instance.
            connection.acknowledge("delete", reserved.id)
            if reply := self._inbox.process(reserved.body, age):
                _send(connection, *reply)
            connection.start_reserve()
        except RefusedError as refused:
            self._log.warning("cannot send the answer to a command: {reason}", reason=str(refused))
            self._give_up(connection)
        except ConnectionLostError:
            self._give_up(connection)
        except BaseException:  # nobody knows how far the exchange has come
            self._give_up(connection)
            raise

    def answer_later(self, message: Message, answer: Answer) -> None:
        """Send an answer that `handle` did not return, over a connection of its own.

        The listener's own connection waits for the next command. Any other thread may call this; a
        failure is logged.
        """
        address = self._find_server()
        if not message.reply_to or address is None:
            return
        connection = WorkerConnection(address, ["default"], None, timeout=ANSWER_TIMEOUT)
        try:
            connection.open()
            _send(connection, message.reply_to, answer)
        except (ConnectionLostError, RefusedError) as error:
            self._log.warning("cannot send the answer to a command: {reason}", reason=str(error))
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _give_up(self, connection: WorkerConnection) -> None:
        """Close the connection, and schedule the next attempt to connect."""
        connection.close()
        self._connection = None
        self._failures += 1
        self._next_try = self._clock() + decide_reconnect(self._failures)


def _send(connection: WorkerConnection, reply_to: str, answer: Answer) -> None:
    """Send an answer, unless its receiver has gone: then it would stay in beanstalkd for ever.

    Raises RefusedError, ConnectionLostError.
    """
    if connection.is_watched(reply_to):
        connection.put(reply_to, encode(answer), CONTROL_PRIORITY, 0, CONTROL_TTR)
