"""Actions of an operator on the queues of a beanstalkd: peek, kick, delete, empty, pause.

They use greenstalk and send one command at a time. Actions on many jobs yield after each step, so
that the caller can show progress.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import greenstalk

from beanwatch.net.address import Address
from beanwatch.queues.base import (
    DEFAULT_TIMEOUT,
    Actions,
    Job,
    ProtocolError,
    ServerError,
    UnsupportedError,
)
from beanwatch.queues.beanstalkd.client import open_client, translate_errors
from beanwatch.queues.beanstalkd.connection import QueryConnection
from beanwatch.queues.beanstalkd.heads import is_job_id, read_jobs
from beanwatch.queues.beanstalkd.protocol import is_tube_name
from beanwatch.queues.beanstalkd.stats import Stats, known_count

# Most jobs kicked with one command. The server serves its other clients between two commands.
KICK_STEP = 1000
MAX_PAUSE = 2**31  # seconds; beanstalkd reads an unsigned 32-bit number
IDS_STEP = 200  # most jobs in one step of kick_jobs and delete_jobs


class BeanstalkdActions(Actions):
    """Actions on the queues of one beanstalkd. Each may raise ServerError. The first one connects.

    `timeout` (seconds) limits the connect and each wait for a reply.
    """

    system = "beanstalkd"

    def __init__(self, address: Address, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._address, self._timeout = address, timeout
        self._opened: greenstalk.Client[bytes] | None = None
        self._used = "default"  # the tube that the connection uses now

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first ready, delayed or buried job of a queue, with its body; None if none.

        Raises UnsupportedError for another state.
        """
        with self._translated():
            self._use(queue)
            try:
                first = self._first(state)
            except greenstalk.NotFoundError:
                first = None
            self._use("default")  # a tube exists as long as a connection uses it
        if first is None:
            return None
        found = self.find([str(first.id)])
        return found[0]._replace(body=first.body) if found else None

    def find(self, ids: Sequence[str]) -> list[Job]:
        """Return the jobs that still exist. `facts` has the fields of `stats-job`."""
        numbers = [number for job_id in ids if is_job_id(number := job_id.encode())]
        return [job for job in map(to_job, self._ask(numbers)) if job is not None]

    def body(self, job_id: str) -> bytes | None:
        """Return the body of a job in any state; None if the job does not exist."""
        if not is_job_id(job_id.encode()):
            return None
        with self._translated():
            try:
                return self._client.peek(int(job_id)).body
            except greenstalk.NotFoundError:
                return None

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Kick up to `count` buried jobs of a queue, and yield the number after each command.

        When no job is buried, the command `kick` kicks delayed jobs instead. So each step first
        reads how many jobs are buried, and kicks no more than that, at most KICK_STEP.
        """
        while count > 0:
            with self._translated():
                self._use(queue)
                step = min(count, KICK_STEP, self._buried(queue))
                kicked = self._client.kick(step) if step else 0
            if not kicked:
                return
            yield kicked
            count -= kicked

    def kick_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Kick the given jobs, if they are buried in this queue; yield the number of each step."""
        yield from self._each(queue, ids, delete=False)

    def delete_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Delete the given jobs, if they are buried in this queue; yield as `kick_jobs` does."""
        yield from self._each(queue, ids, delete=True)

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Peek at the first job in a state and delete it, up to `count` times; yield 1 for each.

        A job that a worker reserves between the two commands is not deleted.
        """
        while count > 0:
            with self._translated():
                self._use(queue)  # another action may have changed it since the last step
                try:
                    job = self._first(state)
                except greenstalk.NotFoundError:
                    return
                try:
                    self._client.delete(job)
                except greenstalk.NotFoundError:
                    continue  # a worker reserved it between the peek and the delete
            yield 1
            count -= 1

    def pause(self, queue: str, seconds: int) -> bool:
        """Let no consumer reserve jobs of a queue for `seconds`; 0 ends the pause at once.

        A pause lasts at most MAX_PAUSE. Return False if the queue does not exist.
        """
        if not is_tube_name(queue):
            return False
        with self._translated():
            try:
                self._client.pause_tube(queue, min(seconds, MAX_PAUSE))
            except greenstalk.NotFoundError:
                return False
        return True

    def move(self, queue: str, state: str, to: str, count: int) -> Iterator[int]:
        """Put a copy of the first job into `to` and delete the job, up to `count` times.

        Yield 1 for each. The copy keeps the priority, the TTR and the rest of the delay. If this is
        interrupted between the two commands, the job is in both queues; none is lost.
        """
        if queue == to:
            raise UnsupportedError(f"cannot move jobs from the queue {queue!r} to itself")
        while count > 0:
            with self._translated():
                self._use(queue)
                try:
                    job = self._first(state)
                except greenstalk.NotFoundError:
                    return
                found = self.find([str(job.id)])
                is_moved = bool(found) and self._move_one(found[0], job.body, to)
            if is_moved:
                yield 1
                count -= 1

    def _move_one(self, job: Job, body: bytes, to: str) -> bool:
        """Return False if a worker has reserved the job meanwhile; then no copy of it stays."""
        priority, ttr = job.facts.get("pri"), job.facts.get("ttr")
        self._use(to)
        copy = self._client.put(
            body,
            priority=priority if isinstance(priority, int) else greenstalk.DEFAULT_PRIORITY,
            delay=int(job.ready_in or 0),
            ttr=ttr if isinstance(ttr, int) else greenstalk.DEFAULT_TTR,
        )
        try:
            self._client.delete(int(job.id))
        except greenstalk.NotFoundError:
            try:
                self._client.delete(copy)
            except greenstalk.NotFoundError:
                pass  # a worker has reserved the copy, too: the job runs twice
            return False
        return True

    def put(self, queue: str, body: bytes, priority: int | None, ttr: int | None) -> str:
        """Put a job into a queue and return its id."""
        with self._translated():
            self._use(queue)
            number = self._client.put(
                body,
                priority=greenstalk.DEFAULT_PRIORITY if priority is None else priority,
                ttr=ttr or greenstalk.DEFAULT_TTR,
            )
            self._use("default")
        return str(number)

    def close(self) -> None:
        """Close the connection; the next action opens a new one."""
        if self._opened is not None:
            self._opened.close()
            self._opened, self._used = None, "default"

    @property
    def _client(self) -> "greenstalk.Client[bytes]":
        if self._opened is None:
            self._opened, self._used = open_client(self._address, self._timeout), "default"
        return self._opened

    def _each(self, queue: str, ids: Sequence[str], *, delete: bool) -> Iterator[int]:
        act = self._client.delete if delete else self._client.kick_job
        for start in range(0, len(ids), IDS_STEP):
            done = 0
            for job in self.find(ids[start : start + IDS_STEP]):
                if job.state != "buried" or job.queue != queue:
                    continue  # the ledger that listed the job may be out of date
                with self._translated():
                    try:
                        act(int(job.id))
                    except greenstalk.NotFoundError:
                        continue
                done += 1
            yield done

    def _ask(self, ids: Sequence[bytes]) -> Iterator[Stats]:
        """Yield the fields of each job, read with pipelined `stats-job` on a separate connection.

        greenstalk is not used: it sends one command at a time, and parses the tube name `1_000`
        as the number 1000.
        """
        if not ids:
            return
        with QueryConnection(self._address, self._timeout) as link:
            yield from read_jobs(link, ids)

    def _first(self, state: str) -> "greenstalk.Job[bytes]":
        match state:
            case "ready":
                return self._client.peek_ready()
            case "delayed":
                return self._client.peek_delayed()
            case "buried":
                return self._client.peek_buried()
        raise UnsupportedError(f"beanstalkd cannot show the first {state} job of a queue")

    def _buried(self, queue: str) -> int:
        count = known_count(self._client.stats_tube(queue), "current-jobs-buried")
        if count is None:
            raise ProtocolError(f"{self._address}: the number of buried jobs is unknown")
        return count

    def _use(self, queue: str) -> None:
        if not is_tube_name(queue):
            raise UnsupportedError(f"beanstalkd allows no queue with the name {queue!r}")
        if queue != self._used:
            self._client.use(queue)
            self._used = queue

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn every error inside the block into a ServerError, and close the connection.

        On the open connection, a late reply would be read as the reply to the next command.
        """
        try:
            with translate_errors(self._address, self._timeout):
                yield
        except ServerError:
            self.close()
            raise


def to_job(stats: Stats) -> Job | None:
    """Convert the fields of `stats-job` to a Job; None for {}: the job does not exist any more."""
    if not stats:
        return None
    facts = dict(stats)
    job_id, tube, state = (str(facts.pop(field, "")) for field in ("id", "tube", "state"))
    age = facts.get("age")
    return Job(
        job_id,
        tube,
        state,
        age=float(age) if isinstance(age, int | float) else None,
        attempts=known_count(stats, "reserves"),
        kicks=known_count(stats, "kicks"),
        ready_in=known_count(stats, "time-left") if state == "delayed" else None,
        facts=facts,
    )
