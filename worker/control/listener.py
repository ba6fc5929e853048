"""The worker's ear: its control queue, on a connection of the pulse thread's own."""

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
from beanwatch.worker.core.connection import RefusedError, Session, SessionError
from beanwatch.worker.core.decide import decide_reconnect

STEP = 0.5  # seconds for one exchange, so that a silent server costs the pulse no tick


class Listener:
    """Holds one reserve on the control queue and obeys what comes.

    `where` tells where the main thread's connection went, so that no name is looked up
    here, and None while it has none. Nothing is raised: a worker without control works on.
    """

    def __init__(
        self,
        where: Callable[[], Address | None],
        worker: str,
        instance: str,
        obey: Callable[[Message], Answer],
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where, self._worker, self._instance = where, worker, instance
        self._obey, self._log, self._clock = obey, log, clock
        self._session: Session | None = None
        self._failures = 0
        self._next_try = 0.0

    def fileno(self) -> int | None:
        """What to select on, None while there is no connection."""
        return self._session.fileno() if self._session else None

    def tick(self) -> None:
        """Connect if there is no connection and it is time to try."""
        if self._session is not None or self._clock() < self._next_try:
            return
        address = self._where()
        if address is None:
            return
        session = Session(address, [control_queue(self._worker)], None, timeout=STEP)
        self._session = session  # a child that is forked meanwhile closes it
        try:
            session.open()
            session.start_reserve()
        except SessionError:
            self._lose(session)
            return
        self._failures = 0

    def receive(self) -> None:
        """Read one message, as the socket has something to read, and obey it."""
        session = self._session
        if session is None:
            return
        try:
            reserved = session.reserve(lambda: True)
            if reserved is None:
                return
            # Deleted first: an order that ends the process must not find its successor.
            session.acknowledge(b"delete %d\r\n" % reserved.id, and_reserve=False)
            message = self._read(reserved.body)
            if message is not None:
                answer = self._obey(message)
                if message.reply_to:
                    body = encode(answer)
                    session.put(message.reply_to, body, CONTROL_PRIORITY, 0, CONTROL_TTR)
            session.start_reserve()
        except RefusedError as refused:
            self._log.warning("an answer could not be put: {reason}", reason=str(refused))
            self._lose(session)
        except SessionError:
            self._lose(session)

    def close(self) -> None:
        """Stop listening."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _read(self, body: bytes) -> Message | None:
        try:
            message = parse_message(body, instance=self._instance, now=time.time())
        except MessageError as error:
            self._log.warning("control message dropped: {reason}", reason=str(error))
            return None
        if message is None:
            self._log.info("control message dropped: expired, or for another instance")
        return message

    def _lose(self, session: Session) -> None:
        session.close()
        self._session = None
        self._failures += 1
        self._next_try = self._clock() + decide_reconnect(self._failures)
