"""Actions of an operator on the queues of a vhost: peek, list, kick and empty."""

from collections.abc import Iterator

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.queues.base import (
    DEFAULT_TIMEOUT,
    Actions,
    Job,
    ProtocolError,
    ServerError,
    UnsupportedError,
)
from beanwatch.queues.rabbitmq.api import ManagementApi
from beanwatch.queues.rabbitmq.messages import to_job
from beanwatch.queues.rabbitmq.move import Move, get_messages, moves_seen_jobs_to_end
from beanwatch.queues.rabbitmq.reader import read_dead_letters, read_rows
from beanwatch.queues.rabbitmq.stats import Row

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

COLUMNS = ("name", "type", "arguments", "effective_policy_definition", "consumers")
MAX_BODIES = 20 * 1024 * 1024  # bytes of the bodies in one answer; longer ones are cut off
DELETE_STEP = 200  # most jobs that one request deletes
MAX_LISTED = 1000  # most jobs that one request lists


class RabbitActions(Actions):
    """Actions on the queues of one vhost. Each may raise ServerError.

    `timeout` (seconds) limits each step. RabbitMQ shows a job only by delivering and requeueing
    it. So each peek marks it as redelivered, and counts as a delivery in a quorum queue. A quorum
    queue without a delivery limit also moves it to its end.
    """

    system = "rabbitmq"

    def __init__(self, server: "Server", timeout: float = DEFAULT_TIMEOUT) -> None:
        self._server, self._timeout = server, timeout

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first ready or buried job of a queue, with its body; None if there is none.

        The job is marked as redelivered. Raises UnsupportedError for another state.
        """
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` ready or buried jobs of a queue, the first one first, with bodies.

        They are marked as redelivered. A body is cut off if all bodies exceed MAX_BODIES.
        """
        api, found = self._api(), list[Job]()
        left = min(count, MAX_LISTED)
        for place in self._places(api, queue, state):
            if left <= 0:
                break
            api.start_step(self._timeout)
            messages = get_messages(
                api, place, left, "ack_requeue_true", truncate=MAX_BODIES // left
            )
            try:
                found += [to_job(queue, state, message) for message in messages]
            except ProtocolError as error:
                raise api.nonsense(str(error)) from None
            left -= len(messages)
        return found

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Move up to `count` dead letters of a queue back to their sources; yield 1 for each.

        `queue` is the source, or a dead-letter queue of several sources. A copy is published before
        a job is deleted: if this fails in between, the job is there twice. Raises ServerError, also
        if the dead-letter queue has consumers, which could take its jobs at the same time; and
        UnsupportedError if it moves a job that was looked at to its end.
        """
        api = self._api()
        for place in self._places(api, queue, "buried", alone=True):
            move = Move(api, place, self._timeout)
            while count > 0 and move.move_one():
                yield 1
                count -= 1

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` ready or buried jobs of a queue; yield the number of each step.

        Jobs are taken and acknowledged. Purging the queue would also delete jobs that were put
        after an operator confirmed `count`.
        """
        api = self._api()
        for place in self._places(api, queue, state):
            while count > 0:
                api.start_step(self._timeout)
                step = min(count, DELETE_STEP)
                done = len(get_messages(api, place, step, "ack_requeue_false", truncate=1))
                if not done:
                    break
                yield done
                count -= done

    def _api(self) -> ManagementApi:
        return ManagementApi(self._server, self._timeout)

    def _places(
        self, api: ManagementApi, queue: str, state: str, *, alone: bool = False
    ) -> list[str]:
        """Return the queues that hold the jobs of a queue in a state.

        If `alone`, raise ServerError if one of them has consumers or if their number is unknown,
        and UnsupportedError if one of them moves a job that was looked at to its end.
        """
        if state == "ready":
            return [queue]
        if state != "buried":
            raise UnsupportedError(f"rabbitmq cannot show the {state} jobs of a queue")
        rows = read_rows(api, COLUMNS)
        found = read_dead_letters(api, rows)
        places = list(found.own.get(queue, ()))
        if len(found.sources.get(queue, ())) > 1:
            places.append(queue)
        for row in rows if alone else ():
            if row["name"] in places:
                self._check_place(api, row)
        return places

    def _check_place(self, api: ManagementApi, row: Row) -> None:
        """Raise ServerError if it is not safe to move jobs out of this queue."""
        if row.get("consumers") != 0:
            known = "may have" if row.get("consumers") is None else "has"
            raise ServerError(
                f"{self._server}: queue {row['name']} {known} consumers, which could take its "
                "jobs at the same time: stop them first"
            )

        def read_version() -> Any:
            return api.get_object("overview", columns=("rabbitmq_version",)).get("rabbitmq_version")

        if moves_seen_jobs_to_end(row, read_version):
            raise UnsupportedError(
                f"{self._server}: queue {row['name']} is a quorum queue without a delivery limit: "
                "it puts a job that was looked at to its end, so jobs would be copied and not "
                "moved. Use RabbitMQ's shovel plugin, or set a policy with a delivery-limit"
            )
