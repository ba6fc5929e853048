"""Producer: puts jobs into queues from web applications and scripts."""

import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import greenstalk

from beanwatch.net.address import parse_address
from beanwatch.queues.base import ServerError
from beanwatch.queues.beanstalkd.client import open_client, reply_word, translate_errors
from beanwatch.queues.servers import DEFAULT_SERVER
from beanwatch.worker.api.envelope import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    FollowUp,
    check_target,
    encode,
)

PUT_TIMEOUT = 5.0  # seconds for connecting, and for each reply
_REFUSALS: dict[type[greenstalk.Error], str] = {
    greenstalk.JobTooBigError: "the job is larger than the server's max-job-size",
    greenstalk.DrainingError: "the server is draining and takes no new jobs",
    greenstalk.BuriedError: "the server is out of memory and has buried the job",
    greenstalk.OutOfMemoryError: "the server is out of memory",
}


class PutError(Exception):
    """Raised if a put failed or was not confirmed; the text names the server and the cause."""


class Put(NamedTuple):
    """The ids of a job that was put.

    `job_id` is beanstalkd's, which restarts at 1 with beanstalkd. `id` is the envelope's.
    """

    job_id: int
    id: str


class Producer:
    """Puts jobs over one connection, which is opened at the first put and after each error.

    Threads and forked processes may share it. `timeout` (seconds) limits connecting and each wait
    for a reply. A put whose connection broke is retried once with the same envelope id. The first
    attempt may have succeeded, so the job may exist twice; both have the same id.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout: float = PUT_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = parse_address(server)
        self._timeout = timeout
        self._clock = clock
        self._locks: dict[int, threading.Lock] = {}  # by process
        self._client: greenstalk.Client[bytes] | None = None
        self._inherited: list[greenstalk.Client[bytes]] = []  # the parent's, in a forked child
        self._used_queue = ""
        self._pid = 0

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next put opens another."""
        with self._own_lock():
            self._close()

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
        """Put one job. `delay` and `ttr` are whole seconds; jobs with smaller priorities go first.

        Raises EnvelopeError for arguments or data that no worker could read, and PutError if the
        server cannot be reached or refuses the job.
        """
        check_target(queue, priority, delay, ttr)
        own_id = id or str(uuid.uuid4())
        body = encode(
            job, data, success=success, failure=failure, id=own_id, enqueued_at=self._clock()
        )
        with self._own_lock():
            return Put(self._put(queue, body, priority, delay, ttr), own_id)

    def _own_lock(self) -> threading.Lock:
        """Return the lock of this process: a thread of the parent may have held its at the fork."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def _put(self, queue: str, body: bytes, priority: int, delay: int, ttr: int) -> int:
        if self._client is not None and self._pid == os.getpid():
            try:
                return self._put_over(self._client, queue, body, priority, delay, ttr)
            except ServerError:
                pass  # the server may have restarted since the last put: try a new connection
        self._close()
        try:
            self._client = client = open_client(self._address, self._timeout)
            self._used_queue, self._pid = "", os.getpid()
            return self._put_over(client, queue, body, priority, delay, ttr)
        except ServerError as error:
            self._close()
            raise PutError(f"putting the job failed: {error}") from None

    def _put_over(
        self,
        client: "greenstalk.Client[bytes]",
        queue: str,
        body: bytes,
        priority: int,
        delay: int,
        ttr: int,
    ) -> int:
        with translate_errors(self._address, self._timeout):
            try:
                if queue != self._used_queue:
                    client.use(queue)
                    self._used_queue = queue
                return client.put(body, priority, delay, ttr)
            except greenstalk.BeanstalkdError as refused:
                reason = _REFUSALS.get(type(refused)) or f"the server replied {reply_word(refused)}"
                raise PutError(f"putting the job failed: {self._address}: {reason}") from None

    def _close(self) -> None:
        if self._client is not None and self._pid == os.getpid():
            self._client.close()
        elif self._client is not None:
            # At the fork, a thread of the parent may have held a lock in it, for which `close` and
            # the garbage collector would wait for ever.
            self._inherited.append(self._client)
        self._client = None
