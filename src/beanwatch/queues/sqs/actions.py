"""Actions of an operator on the queues of SQS: peek, list, kick, empty."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.queues.base import (
    DEFAULT_TIMEOUT,
    Actions,
    Job,
    ServerError,
    UnsupportedError,
)
from beanwatch.queues.sqs.api import Sqs, find_dead_letters

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

MAX_RECEIVED = 10  # messages of one call
HIDDEN = 60  # seconds for which nobody else receives a message that we have received


class SqsActions(Actions):
    """Actions on the queues of one account. Each may raise ServerError.

    SQS shows a message only to who receives it, and counts that as an attempt. So the messages of a
    queue with a dead-letter queue are not shown: looking at them would make dead letters of them.
    `timeout` (seconds) limits each wait for a reply.
    """

    system = "sqs"

    def __init__(self, server: "Server", timeout: float = DEFAULT_TIMEOUT) -> None:
        self._server, self._timeout = server, timeout
        self._opened: Sqs | None = None

    def peek(self, queue: str, state: str) -> Job | None:
        """Return a message of a queue in this state; None if there is none. See `list_jobs`."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Receive up to `count` ready or buried messages, and make them visible again.

        Nobody can see a delayed message, so none is returned. Raises UnsupportedError for ready
        messages of a queue with a dead-letter queue.
        """
        if state == "delayed":
            return []
        url = self._url(queue, state)
        if dead := find_dead_letters(self._attributes(url)):
            raise UnsupportedError(
                f"{self._server}: to look at a message of {queue} would count as an attempt, and "
                f"could make a dead letter of it; look at its dead-letter queue {dead}"
            )
        received: list[dict[str, Any]] = []
        try:
            jobs: list[Job] = []
            while len(jobs) < count and (more := self._receive(url, count - len(jobs))):
                received += more["Messages"]
                jobs += [to_job(queue, state, one, more) for one in more["Messages"]]
            return jobs
        finally:
            for message in received:
                self._sqs.call(
                    "change_message_visibility",
                    QueueUrl=url,
                    ReceiptHandle=message["ReceiptHandle"],
                    VisibilityTimeout=0,
                )

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Move up to `count` messages from the dead-letter queue back; yield 1 for each.

        Each is sent before it is deleted, so a failure between the two leaves it in both queues.
        SQS's own StartMessageMoveTask cannot move a part of the messages.
        """
        source, dead = self._url(queue, "ready"), self._url(queue, "buried")
        for message in self._take(dead, count):
            self._sqs.call("send_message", QueueUrl=source, **copy_message(message))
            self._delete(dead, message)
            yield 1

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Receive and delete up to `count` ready or buried messages; yield 1 for each.

        SQS's own PurgeQueue would delete reserved messages too.
        """
        if state == "delayed":
            raise UnsupportedError(
                f"{self._server}: SQS lets nobody delete the delayed messages of {queue} alone"
            )
        url = self._url(queue, state)
        for message in self._take(url, count):
            self._delete(url, message)
            yield 1

    @property
    def _sqs(self) -> Sqs:
        if self._opened is None:
            self._opened = Sqs(self._server, self._timeout)
        return self._opened

    def _url(self, queue: str, state: str) -> str:
        """Return the URL of the queue that has the messages in this state."""
        url = self._sqs.find_url(queue)
        if url is None:
            raise ServerError(f"{self._server}: there is no queue {queue!r}")
        if state != "buried":
            return url
        name = find_dead_letters(self._attributes(url))
        dead = name and self._sqs.find_url(name)
        if not dead:
            raise UnsupportedError(f"{self._server}: {queue} has no dead-letter queue")
        if self._sqs.is_shared(dead):
            raise UnsupportedError(
                f"{self._server}: {name} has dead letters of several queues; nobody knows which "
                f"ones are of {queue}"
            )
        return dead

    def _attributes(self, url: str) -> dict[str, str]:
        return self._sqs.attributes(url) or {}

    def _receive(self, url: str, count: int) -> dict[str, Any]:
        """Return a reply with up to MAX_RECEIVED messages; {} if none is visible."""
        reply = self._sqs.call(
            "receive_message",
            QueueUrl=url,
            MaxNumberOfMessages=min(count, MAX_RECEIVED),
            VisibilityTimeout=HIDDEN,
            WaitTimeSeconds=1 if self._timeout > 2 else 0,  # with 0, SQS asks only some servers
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return reply if reply.get("Messages") else {}

    def _take(self, url: str, count: int) -> Iterator[dict[str, Any]]:
        """Receive messages, and yield each until HIDDEN seconds have passed since."""
        while count > 0 and (reply := self._receive(url, count)):
            end = time.monotonic() + HIDDEN - self._timeout
            for message in reply["Messages"]:
                if time.monotonic() > end:
                    break  # somebody else may receive it now
                yield message
                count -= 1

    def _delete(self, url: str, message: dict[str, Any]) -> None:
        handle = message["ReceiptHandle"]
        self._sqs.call("delete_message", QueueUrl=url, ReceiptHandle=handle)


def copy_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of send_message for a copy of a received message."""
    copy = {"MessageBody": message["Body"]}
    if message.get("MessageAttributes"):
        copy["MessageAttributes"] = message["MessageAttributes"]
    if group := message.get("Attributes", {}).get("MessageGroupId"):
        copy["MessageGroupId"] = group
        copy["MessageDeduplicationId"] = message["MessageId"]
    return copy


def to_job(queue: str, state: str, message: dict[str, Any], reply: dict[str, Any]) -> Job:
    """Convert a received message. Its age is by the clock of the server that sent the reply."""
    facts = message.get("Attributes", {})
    age = None
    date = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    sent = facts.get("SentTimestamp", "")
    if date and sent.isdecimal():
        age = max(0.0, parsedate_to_datetime(date).timestamp() - int(sent) / 1000)
    attempts = facts.get("ApproximateReceiveCount", "")
    return Job(
        message["MessageId"],
        queue,
        state,
        message["Body"].encode("utf-8", "backslashreplace"),
        age,
        max(0, int(attempts) - 1) if attempts.isdecimal() else None,  # without this look
        facts=facts,
    )
