"""Put jobs: for web applications and scripts that give workers something to do."""

import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from beanwatch.net.address import Address, parse_address
from beanwatch.queues.base import ServerError
from beanwatch.queues.beanstalkd.connection import QueryConnection as Link
from beanwatch.queues.beanstalkd.protocol import Reply
from beanwatch.queues.servers import DEFAULT_SERVER
from beanwatch.worker.api.envelope import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    FollowUp,
    check_target,
    encode,
)

PUT_TIMEOUT = 5.0  # seconds for one put, its connect included
_REFUSALS = {
    b"JOB_TOO_BIG": "the job is larger than the server's max-job-size",
    b"DRAINING": "the server is draining and takes no new jobs",
    b"BURIED": "the server is out of memory and has buried the job",
    b"OUT_OF_MEMORY": "the server is out of memory",
}


class PutError(Exception):
    """The job was not put; the text names the server and the cause."""


class Put(NamedTuple):
    """A job that was put: beanstalkd's id, good until it restarts, and the envelope's own."""

    job_id: int
    id: str


class Producer:
    """Keeps one connection, for any number of threads; opened at the first put, and again.

    A put whose connection broke is tried once more under the same id. At worst the job is
    there twice, which its id shows.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout: float = PUT_TIMEOUT,
        open_link: Callable[[Address, float], Link] = Link,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = parse_address(server)
        self._timeout = timeout
        self._open_link = open_link
        self._clock = clock
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._pid = 0

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next put opens another."""
        with self._lock:
            self._drop()

    def put(
        self,
        queue: str,
        job: str,
        data: Any = None,
        *,
        priority: int = DEFAULT_PRIORITY,
        delay: int = 0,
        ttr: int = DEFAULT_TTR,
        success: FollowUp | None = None,
        failure: FollowUp | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
    ) -> Put:
        """Put one job. `delay` and `ttr` in whole seconds; smaller priorities go first.

        Raises EnvelopeError for what no worker could read and PutError when the server
        cannot be reached or does not take it.
        """
        check_target(queue, priority, delay, ttr)
        own_id = id or str(uuid.uuid4())
        body = encode(
            job, data, success=success, failure=failure, id=own_id, enqueued_at=self._clock()
        )
        use = b"use " + queue.encode()
        put = b"put %d %d %d %d\r\n%b" % (priority, delay, ttr, len(body), body)
        with self._lock:
            reply = self._exchange([use, put])
        if reply.word != b"INSERTED":
            why = _REFUSALS.get(reply.word) or f"it answered {reply.word.decode()}"
            raise PutError(f"{self._address}: {why}")
        return Put(int(reply.args[0]), own_id)

    def _exchange(self, commands: list[bytes]) -> Reply:
        link = self._link
        if link is not None and self._pid == os.getpid():
            try:
                link.extend()
                return link.ask(commands)[-1]
            except ServerError:
                pass  # it lay idle, and the server may have restarted: once more, on a new one
        self._drop()
        try:
            self._link = link = self._open_link(self._address, self._timeout)
            self._pid = os.getpid()
            return link.ask(commands)[-1]
        except ServerError as error:
            self._drop()
            raise PutError(str(error)) from None

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()  # after a fork this closes the child's copy only
            self._link = None
