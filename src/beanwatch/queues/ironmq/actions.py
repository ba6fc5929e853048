"""Actions of an operator on the queues of IronMQ: peek, list, kick, empty."""

import time
from collections.abc import Iterator

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import (
    DEFAULT_TIMEOUT,
    Actions,
    Job,
    ServerError,
    UnsupportedError,
)
from beanwatch.queues.ironmq.api import Message, Project

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


class IronMqActions(Actions):
    """Actions on the queues of one project. Each may raise ServerError.

    `timeout` (seconds) limits each request. The buried messages of a queue are those of its
    dead-letter queue or error queue.
    """

    system = "ironmq"

    def __init__(self, server: "Server", timeout: float = DEFAULT_TIMEOUT) -> None:
        self._server, self._timeout = server, timeout
        self._project = Project(server, time.monotonic)

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first message of a queue in this state; None if there is none."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` ready or buried messages; IronMQ shows only the first 100."""
        messages = self._project.peek(self._find(queue, state), count, self._end)
        return [
            Job(str(one.id), queue, state, one.body.encode(), attempts=one.reserved_count)
            for one in messages
        ]

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Move up to `count` messages from the dead-letter queue back; yield each step's number.

        Each is put before it is deleted, so a failure between the two leaves it in both queues.
        Raises UnsupportedError for an error queue: its messages tell of others, which are gone.
        """
        dead = self._find(queue, "buried", is_error_queue_allowed=False)
        for messages in self._steps(dead, count):
            self._project.post(queue, [message.body for message in messages], self._end)
            self._project.delete(dead, messages, self._end)
            yield len(messages)

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` ready or buried messages; yield the number of each step.

        IronMQ could clear the whole queue, but this would delete reserved messages too.
        """
        name = self._find(queue, state)
        for messages in self._steps(name, count):
            self._project.delete(name, messages, self._end)
            yield len(messages)

    @property
    def _end(self) -> float:
        return time.monotonic() + self._timeout

    def _steps(self, name: str, count: int) -> Iterator[list[Message]]:
        while count > 0 and (messages := self._project.peek(name, count, self._end)):
            yield messages
            count -= len(messages)

    def _find(self, queue: str, state: str, *, is_error_queue_allowed: bool = True) -> str:
        """Return the name of the queue that has the messages of `queue` in this state."""
        if state == "ready":
            return queue
        if state != "buried":
            raise UnsupportedError(f"{self._server}: IronMQ does not show {state} messages")
        found, _ = self._project.read_queues([queue], self._end)
        if queue not in found:
            raise ServerError(f"{self._server}: there is no queue {queue!r}")
        name = found[queue].failed_queue
        if not name:
            raise UnsupportedError(f"{self._server}: {queue} has no dead-letter queue")
        if found[queue].push and not is_error_queue_allowed:
            raise UnsupportedError(
                f"{self._server}: {name} is an error queue: its messages tell of failures, and are "
                "not those that failed"
            )
        _, shared = self._project.read_failed(found, self._end)
        if shared:
            raise UnsupportedError(
                f"{self._server}: {name} has messages of several queues; nobody knows which ones "
                f"are of {queue}"
            )
        return name
