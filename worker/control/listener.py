"""Receives commands from the worker's control queue, on a connection of the pulse thread's own."""

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.worker.control.messages import (
    CONTROL_PRIORITY,
    CONTROL_TTR,
    Answer,
    Message,
    MessageError,
    control_queue,
    encode,
    parse_message,
)
from beanwatch.worker.core.connection import ConnectionLostError, RefusedError, WorkerConnection
from beanwatch.worker.core.decide import decide_reconnect, format_exception_line
from beanwatch.worker.core.internal_errors import InternalErrors

EXCHANGE_TIMEOUT = 0.5  # seconds; short, so that a silent server costs the pulse no tick


class Listener:
    """Waits for a job in the control queue and has `handle` carry it out. Raises nothing.

    `find_server` returns the address of the main thread's connection, so that no name is looked up
    here, or None while there is none. While the connection is lost, the worker goes on without
    commands.
    """

    def __init__(
        self,
        find_server: Callable[[], Address | None],
        worker: str,
        instance: str,
        handle: Callable[[Message], Answer],
        errors: InternalErrors,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_server, self._worker, self._instance = find_server, worker, instance
        self._handle, self._errors, self._log = handle, errors, log
        self._clock = clock
        self._connection: WorkerConnection | None = None
        self._failures = 0
        self._next_try = 0.0

    def fileno(self) -> int | None:
        """The file descriptor to poll; None while there is no connection."""
        return self._connection.fileno() if self._connection else None

    def tick(self) -> None:
        """Connect if there is no connection and the next attempt is due."""
        if self._connection is not None or self._clock() < self._next_try:
            return
        address = self._find_server()
        if address is None:
            return
        queues = [control_queue(self._worker)]
        connection = WorkerConnection(address, queues, None, timeout=EXCHANGE_TIMEOUT)
        self._connection = connection  # before `open`: a child forked meanwhile has to close it
        try:
            connection.open()
            connection.start_reserve()
        except ConnectionLostError:
            self._give_up(connection)
            return
        self._failures = 0

    def receive(self) -> None:
        """Read one message, which has arrived, and answer it."""
        connection = self._connection
        if connection is None:
            return
        try:
            reserved = connection.reserve(lambda: True)
            if reserved is None:
                return
            # Delete it first: otherwise a command to stop would stop the next instance too.
            connection.acknowledge("delete", reserved.id)
            message = self._read(reserved.body)
            if message is not None:
                answer = self._carry_out(message)
                if message.reply_to:
                    body = encode(answer)
                    connection.put(message.reply_to, body, CONTROL_PRIORITY, 0, CONTROL_TTR)
            connection.start_reserve()
        except RefusedError as refused:
            self._log.warning("an answer could not be put: {reason}", reason=str(refused))
            self._give_up(connection)
        except ConnectionLostError:
            self._give_up(connection)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _carry_out(self, message: Message) -> Answer:
        try:
            return self._handle(message)
        except Exception as error:
            self._errors.report(f"the command {message.command}", error)
            text = f"it failed: {format_exception_line(error)}"
            return Answer(
                self._worker, self._instance, message.command, id=message.id, ok=False, text=text
            )

    def _read(self, body: bytes) -> Message | None:
        try:
            message = parse_message(body, instance=self._instance, now=time.time())
        except MessageError as error:
            self._log.warning("control message dropped: {reason}", reason=str(error))
            return None
        if message is None:
            self._log.info("control message dropped: expired, or for another instance")
        return message

    def _give_up(self, connection: WorkerConnection) -> None:
        """Close the connection, and connect again later."""
        connection.close()
        self._connection = None
        self._failures += 1
        self._next_try = self._clock() + decide_reconnect(self._failures)
