"""Move the jobs of a dead-letter queue back to the queues in which they died.

The management API has no call that moves a message, and none that holds one between two requests.
So three requests move one job. They are ordered so that a failure duplicates a job and loses none:

1. get with requeue: read the first job, which stays in the queue;
2. publish a copy to its source, which RabbitMQ confirms;
3. get with acknowledgement: delete the first job.

If somebody else takes jobs from the queue at the same time, step 3 may delete another job than that
of step 1. That one is then published at once. Only if this fails, too, a job is lost: the error
says so.

Step 3 finds the job of step 1 only if the queue puts it back to its head. A queue that
`moves_seen_jobs_to_end` does not.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from beanwatch.light_typing import Any
from beanwatch.queues.base import ProtocolError, ServerError, UnsupportedError
from beanwatch.queues.rabbitmq.api import ManagementApi
from beanwatch.queues.rabbitmq.messages import Message, identity, origin_of, to_job, to_publish


class Move:
    """Moves jobs one by one out of one dead-letter queue; `timeout` (seconds) limits each."""

    def __init__(self, api: ManagementApi, queue: str, timeout: float) -> None:
        self._api, self._queue, self._timeout = api, queue, timeout
        self._published: Counter[bytes] = Counter()  # copies whose originals are still in the queue

    def move_one(self) -> bool:
        """Move the first job. Return False if there is none. Raises ServerError."""
        self._api.start_step(self._timeout)
        try:
            return self._move_one()
        except (ProtocolError, UnsupportedError) as error:
            if str(error).startswith(str(self._api.server)):
                raise
            raise type(error)(f"{self._api.server}: queue {self._queue}: {error}") from None

    def _move_one(self) -> bool:
        first = self._take("ack_requeue_true")
        if first is None:
            return False
        if not self._published[identity(first)]:
            self._publish(first, origin_of(first))
            self._published[identity(first)] += 1
        self._delete_first()
        return True

    def _delete_first(self) -> None:
        deleted = self._take("ack_requeue_false")
        if deleted is None:  # somebody else took it: the job is now there twice
            return
        if self._published[identity(deleted)]:
            self._published -= Counter([identity(deleted)])  # this forgets those at 0
            return
        # Somebody else took the first job in between, so this one has no copy yet.
        self._api.start_step(self._timeout)
        try:
            self._publish(deleted, origin_of(deleted))
        except ServerError as cause:
            self._put_back(deleted, cause)

    def _put_back(self, message: Message, cause: ServerError) -> None:
        """Publish a deleted message to the dead-letter queue again, and raise ServerError."""
        try:
            self._publish(message, self._queue)
        except ServerError as error:
            lost = to_job(self._queue, "buried", message)
            raise ServerError(
                f"{self._api.server}: queue {self._queue}: a job (id {lost.id}) is lost: somebody "
                f"else took jobs at the same time, and it could not be published: {error}"
            ) from cause
        raise cause

    def _take(self, mode: str) -> Message | None:
        found = get_messages(self._api, self._queue, 1, mode)
        return found[0] if found else None

    def _publish(self, message: Message, queue: str) -> None:
        """Publish a copy to a queue by the default exchange; RabbitMQ confirms it."""
        body = to_publish(message, queue)
        answer = self._api.post("exchanges", self._api.vhost, "amq.default", "publish", body=body)
        if not isinstance(answer, dict) or answer.get("routed") is not True:
            raise ServerError(
                f"{self._api.server}: cannot move a job to queue {queue}: there is no such queue"
            )


def moves_seen_jobs_to_end(row: Mapping[str, Any], read_version: Callable[[], Any]) -> bool:
    """Return True if a queue moves a job that was got with requeue to its end.

    From RabbitMQ 3.10 on, a quorum queue without a delivery limit does. `row` is the queue in the
    API's list. `read_version` returns RabbitMQ's version; it is called only for a quorum queue
    without a setting, because RabbitMQ 4.0 and later have a limit by default.
    """
    arguments, policy = (
        part if isinstance(part, dict) else {}
        for part in (row.get("arguments"), row.get("effective_policy_definition"))
    )
    # A vhost may have a default type, which is not in the arguments.
    if "quorum" not in (row.get("type"), arguments.get("x-queue-type")):
        return False
    limits = (arguments.get("x-delivery-limit"), policy.get("delivery-limit"))
    known = [limit for limit in limits if isinstance(limit, int)]
    if known:
        return max(known) < 0  # a negative one is none, and the other one counts
    return not re.match(r"([4-9]|[1-9]\d+)\.", str(read_version()))


def get_messages(
    api: ManagementApi, queue: str, count: int, mode: str, *, truncate: int = 0
) -> list[Message]:
    """Take up to `count` messages from a queue; `mode` says what becomes of them.

    "ack_requeue_true" puts them back to where they were, or to the end of a queue that
    `moves_seen_jobs_to_end`; "ack_requeue_false" deletes them.
    `truncate` (bytes) limits each body; 0: no limit. Raises ServerError.
    """
    body: dict[str, Any] = {"count": count, "ackmode": mode, "encoding": "base64"}
    if truncate:
        body["truncate"] = truncate
    found = api.post("queues", api.vhost, queue, "get", body=body)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise api.nonsense("the answer to get is not a list of messages")
    return found
