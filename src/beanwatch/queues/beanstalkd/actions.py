"""What a person does to the queues of a beanstalkd: peek, kick, delete, empty, pause.

Through greenstalk, one command at a time. Work is done in steps, so that progress can be shown.
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

# Jobs kicked with one command: the server serves others between two of them.
KICK_STEP = 1000
MAX_PAUSE = 2**31  # seconds; beanstalkd reads an unsigned 32-bit number
STEP = 200  # jobs by id between two reports of progress


class BeanstalkdActions(Actions):
    """For one person's command. It connects at the first action; each may raise ServerError."""

    system = "beanstalkd"

    def __init__(self, address: Address, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._address, self._timeout = address, timeout
        self._opened: greenstalk.Client[bytes] | None = None
        self._used = "default"  # the tube that commands without a name are about

    def peek(self, queue: str, state: str) -> Job | None:
        """As `Actions.peek`; states: ready, delayed, buried."""
        with self._translated():
            self._use(queue)
            try:
                first = self._first(state)
            except greenstalk.NotFoundError:
                first = None
            self._use("default")  # else a queue that is empty would live on by our use
        if first is None:
            return None
        found = self.find([str(first.id)])
        return found[0]._replace(body=first.body) if found else None

    def find(self, ids: Sequence[str]) -> list[Job]:
        """As `Actions.find`. Their facts are those of `stats-job`."""
        numbers = [number for job_id in ids if is_job_id(number := job_id.encode())]
        return [job for job in map(to_job, self._ask(numbers)) if job is not None]

    def body(self, job_id: str) -> bytes | None:
        """As `Actions.body`."""
        if not is_job_id(job_id.encode()):
            return None
        with self._translated():
            try:
                return self._client.peek(int(job_id)).body
            except greenstalk.NotFoundError:
                return None

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """As `Actions.kick`.

        `kick` takes delayed jobs when no buried one is left, and others kick too: so each step
        asks first how many are buried, and kicks no more.
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
        """As `Actions.kick_jobs`."""
        yield from self._each(queue, ids, delete=False)

    def delete_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """As `Actions.delete_jobs`."""
        yield from self._each(queue, ids, delete=True)

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """As `Actions.empty`, head by head: a job that a worker takes meanwhile is left to it."""
        while count > 0:
            with self._translated():
                self._use(queue)  # again, if something else was done since the last step
                try:
                    job = self._first(state)
                except greenstalk.NotFoundError:
                    return
                try:
                    self._client.delete(job)
                except greenstalk.NotFoundError:
                    continue  # taken between the peek and the delete
            yield 1
            count -= 1

    def pause(self, queue: str, seconds: int) -> bool:
        """As `Actions.pause`."""
        if not is_tube_name(queue):
            return False
        with self._translated():
            try:
                self._client.pause_tube(queue, min(seconds, MAX_PAUSE))
            except greenstalk.NotFoundError:
                return False
        return True

    def close(self) -> None:
        """As `Actions.close`."""
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
        for start in range(0, len(ids), STEP):
            done = 0
            for job in self.find(ids[start : start + STEP]):
                if job.state != "buried" or job.queue != queue:
                    continue  # the ledger that named it may be behind
                with self._translated():
                    try:
                        act(int(job.id))
                    except greenstalk.NotFoundError:
                        continue
                done += 1
            yield done

    def _ask(self, ids: Sequence[bytes]) -> Iterator[Stats]:
        """`stats-job` of many, on a connection of its own.

        Not through greenstalk: it asks one by one, and reads the tube `1_000` as the number 1000.
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
            raise ProtocolError(f"{self._address}: it does not tell how many jobs are buried")
        return count

    def _use(self, queue: str) -> None:
        if not is_tube_name(queue):
            raise UnsupportedError(f"beanstalkd has no queue called {queue!r}")
        if queue != self._used:
            self._client.use(queue)
            self._used = queue

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """One ServerError for all that goes wrong; the next action has a new connection.

        On the old one, an answer that comes late would be taken for that to the next question.
        """
        try:
            with translate_errors(self._address, self._timeout):
                yield
        except ServerError:
            self.close()
            raise


def to_job(stats: Stats) -> Job | None:
    """The model of a job, of its `stats-job`; None for {}, a job that is gone."""
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
