"""The story of one job: its recorded runs, and where it is now."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from beanwatch.net.redis_url import Execute
from beanwatch.queues.base import SERVER_ONLY, Job, ReaderOptions, ServerError
from beanwatch.queues.servers import Server
from beanwatch.store.heartbeats import Worker
from beanwatch.store.ledger import LedgerEntry, read_job, read_job_by_id
from beanwatch.worker.api.envelope import Envelope, EnvelopeError, decode

ELSEWHERE = "on a server that is not asked here, or was restarted since"


class Place(NamedTuple):
    """A server that may hold the job: its instance, or why it cannot be asked."""

    server: Server
    instance: str = ""
    trouble: str = ""


class Now(NamedTuple):
    """Where a job is: its state or why that is not known, and the worker that holds it."""

    server: str
    job_id: int
    state: str
    job: Job | None = None
    holder: str = ""
    has_failed: bool = False  # the server could not be asked; then `state` is the error's text

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "server": self.server,
            "job_id": self.job_id,
            "state": self.state,
            "queue": self.job.queue if self.job else None,
            "facts": dict(self.job.facts) if self.job else {},
            "holder": self.holder,
        }


class Story(NamedTuple):
    """All that is known of one job: its recorded runs and where it is now.

    `job` is the kind of job that its envelope names, for one without a recorded run.
    """

    id: str
    entries: Sequence[LedgerEntry]
    nows: Sequence[Now]
    job: str = ""

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "runs": [entry._asdict() for entry in self.entries],
            "now": [now.tree() for now in self.nows],
        }


def find_places(servers: Iterable[Server], timeout: float) -> list[Place]:
    """The servers that can find a job by its id. Each may take `timeout` seconds."""
    return [find_place(one, timeout) for one in servers if "find" in one.system.actions]


def find_place(server: Server, timeout: float) -> Place:
    """A server and its instance, under which the ledger knows its jobs."""
    try:
        with closing(server.system.open_reader(server, ReaderOptions(timeout))) as reader:
            state = reader.read(SERVER_ONLY).server
    except ServerError as error:
        return Place(server, trouble=str(error))
    return Place(server, (state and state.instance) or "")


class StoryTeller:
    """Tells stories from the ledger, the servers and the workers' records. Raises RedisError."""

    def __init__(
        self, execute: Execute, places: Sequence[Place], workers: Sequence[Worker], timeout: float
    ) -> None:
        self._execute, self._places, self._workers = execute, places, workers
        self._timeout = timeout

    def tell(self, ident: str) -> list[Story]:
        """The stories of a job, by the id of its envelope or by the server's number."""
        if ident.isascii() and ident.isdigit():
            return self._tell_by_number(int(ident))
        return self._tell_by_id(ident)

    def _tell_by_id(self, ident: str) -> list[Story]:
        entries = read_job(self._execute, ident)
        numbers = dict.fromkeys((entry.server, entry.job_id) for entry in entries)
        nows = [self._find(self._places, *number) for number in numbers]
        holders = [
            one.id for one in self._workers if one.heartbeat and one.heartbeat.job_uuid == ident
        ]
        found = {now.holder for now in nows}
        nows += [Now("", 0, "it is being run", holder=one) for one in holders if one not in found]
        return [Story(ident, entries, nows)] if entries or nows else []

    def _tell_by_number(self, job_id: int) -> list[Story]:
        """At most one story for each server, as several may use the same number."""
        stories = []
        for place in self._places:
            if place.trouble:
                continue
            entries = read_job_by_id(self._execute, place.instance, job_id)
            now = self._find([place], place.instance, job_id)
            if entries:
                stories.append(Story(entries[-1].uuid, entries, [now]))
            elif now.job:
                envelope = self._read_envelope(place.server, now.job.id)
                # It may have run under the same envelope before the server was restarted.
                ident = envelope.id or "" if envelope else ""
                entries = read_job(self._execute, ident) if ident else []
                stories.append(Story(ident, entries, [now], envelope.job if envelope else ""))
            elif now.has_failed:  # the job may be on this server, so do not leave it out
                stories.append(Story("", [], [now]))
        return stories

    def _find(self, places: Sequence[Place], instance: str, job_id: int) -> Now:
        asked = (one for one in places if one.instance == instance and not one.trouble)
        place = next(asked, None)
        if place is None:
            return Now("", job_id, ELSEWHERE)
        where = str(place.server)
        try:
            with closing(place.server.system.open_actions(place.server, self._timeout)) as actions:
                found = actions.find([str(job_id)])
        except ServerError as error:
            return Now(where, job_id, str(error), has_failed=True)
        if not found:
            gone = f"no longer in {place.server.system.name}: it was deleted"
            return Now(where, job_id, gone)
        (job,) = found
        return Now(where, job_id, job.state, job, self._find_holder(job, job_id))

    def _find_holder(self, job: Job, job_id: int) -> str:
        if job.state != "reserved":
            return ""
        for worker in self._workers:
            beat = worker.heartbeat
            if beat is not None and beat.job_id == job_id and beat.queue == job.queue:
                return worker.id
        return ""

    def _read_envelope(self, server: Server, job_id: str) -> Envelope | None:
        try:
            with closing(server.system.open_actions(server, self._timeout)) as actions:
                return decode(actions.body(job_id) or b"")
        except (ServerError, EnvelopeError):
            return None
