"""Find out what happened to a job: its recorded runs, and where it is now."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from beanwatch.fleet.buried_jobs import read_envelope
from beanwatch.fleet.together import read_together
from beanwatch.net.redis_url import Execute
from beanwatch.outcomes import OUTCOMES
from beanwatch.queues.base import SERVER_ONLY, Job, ReaderOptions, ServerError
from beanwatch.queues.servers import Server
from beanwatch.store.heartbeats import JobRecord, Worker
from beanwatch.store.ledger import LedgerEntry, read_job, read_job_by_id
from beanwatch.store.records import RecordError
from beanwatch.worker.api.envelope import Envelope

# The outcomes after which a job is in no queue any more.
DELETED = frozenset(outcome.name for outcome in OUTCOMES if outcome.is_deleted)
# The state of a job on a server instance that none of the given servers has.
ELSEWHERE = "on a server that was not given, or that has been restarted since"


def running(worker: Worker) -> Sequence[JobRecord]:
    """Return the jobs that a worker runs, by its record."""
    return worker.heartbeat.jobs if worker.heartbeat else ()


class JobServer(NamedTuple):
    """A server that may have the job.

    `instance` identifies the server's process. `trouble` says why reading it failed;
    it is "" if it did not.
    """

    server: Server
    instance: str = ""
    trouble: str = ""


class JobLocation(NamedTuple):
    """The place where a job is now.

    `state` is its state on the server, or a text that says why that is unknown. `holder` is the id
    of the worker that runs it, "" if unknown. `server` is "" if the server is unknown.
    """

    server: str
    job_id: int
    state: str
    job: Job | None = None
    holder: str = ""
    has_failed: bool = False  # the server could not be asked; then `state` is the error's text

    def tree(self) -> dict[str, Any]:
        """Return the fields as objects that JSON can hold."""
        return {
            "server": self.server,
            "job_id": self.job_id,
            "state": self.state,
            "queue": self.job.queue if self.job else None,
            "facts": dict(self.job.facts) if self.job else {},
            "holder": self.holder,
        }


class Story(NamedTuple):
    """All known facts about a job: `entries` are its recorded runs, `nows` the places where it is.

    `id` is the id in its envelope, the JSON in its body. `job` is the kind of job that the envelope
    names; it is only set for a job without a recorded run. `has_number` is False if no server can
    find the job, because its id is no number: it is of another queue system.
    """

    id: str
    entries: Sequence[LedgerEntry]
    nows: Sequence[JobLocation]
    job: str = ""
    has_number: bool = True

    def tree(self) -> dict[str, Any]:
        """Return the fields as objects that JSON can hold."""
        return {
            "id": self.id,
            "runs": [entry._asdict() for entry in self.entries],
            "now": [now.tree() for now in self.nows],
        }


def find_job_servers(servers: Iterable[Server], timeout: float) -> list[JobServer]:
    """Read the instance of each server whose system can find a job by its id.

    `timeout` (seconds) limits the reading of all servers.
    """
    able = [server for server in servers if "find" in server.system.actions]

    def read_instance(server: Server) -> str:
        """Return the server's instance, which is part of the keys of its jobs in the ledger."""
        with closing(server.system.open_reader(server, ReaderOptions(timeout))) as reader:
            state = reader.read(SERVER_ONLY).server
        return (state and state.instance) or ""

    return [
        JobServer(server, trouble=str(found))
        if isinstance(found, ServerError)
        else JobServer(server, found)
        for server, found in read_together(able, read_instance, timeout * 2)
    ]


class StoryReader:
    """Collects what is known about a job: from servers, heartbeats, and the ledger (runs in Redis).

    `timeout` (seconds) limits each wait for a server.
    """

    def __init__(
        self,
        execute: Execute,
        places: Sequence[JobServer],
        workers: Sequence[Worker],
        timeout: float,
    ) -> None:
        self._execute, self._places, self._workers = execute, places, workers
        self._timeout = timeout
        self.rejected: list[RecordError] = []  # of runs whose records cannot be read

    def read(self, ident: str) -> list[Story]:
        """Return what is known about a job; [] if nothing is. Raises RedisError.

        `ident` is the id of its envelope, or the number that a server gave it. Several servers may
        have given the same number, and a producer may use it as an id; then the result has a story
        for each.
        """
        stories = self._read_by_id(ident)
        if ident.isascii() and ident.isdigit():
            numbered = self._read_by_number(int(ident))
            stories = numbered + [one for one in stories if one not in numbered]
        return stories

    def troubles(self, stories: Sequence[Story]) -> list[str]:
        """Return why servers could not be asked that may have the job of these stories."""
        if stories and not any(story.has_number for story in stories):
            return []
        return [place.trouble for place in self._places if place.trouble]

    def _read_by_id(self, ident: str) -> list[Story]:
        entries = read_job(self._execute, ident, self.rejected.append)
        numbers = dict.fromkeys(
            (entry.server, int(entry.job_id)) for entry in entries if entry.job_id.isdigit()
        )
        nows: list[JobLocation] = []
        for number in numbers:
            now = self._find_again(ident, *number)
            if now not in nows:  # a job that outlived a restart of the server is in one place
                nows.append(now)
        holders = {
            one.id: job.id for one in self._workers for job in running(one) if job.uuid == ident
        }
        found = {now.holder for now in nows}
        nows += [
            JobLocation("", 0, "it is being run", holder=one) for one in holders if one not in found
        ]
        has_number = bool(numbers) or any(map(str.isdigit, holders.values()))
        return [Story(ident, entries, nows, has_number=has_number)] if entries or nows else []

    def _read_by_number(self, job_id: int) -> list[Story]:
        """Return at most one story for each server, since several may use the same number."""
        stories = []
        for place in self._places:
            if place.trouble:
                continue
            entries = read_job_by_id(self._execute, place.instance, job_id, self.rejected.append)
            now = self._find([place], place.instance, job_id)
            if entries:
                stories.append(Story(entries[-1].uuid, entries, [now]))
            elif now.job:
                envelope = self._read_envelope(place.server, now.job.id)
                # The job may have run before a restart of the server, which gave it a new number.
                ident = envelope.id or "" if envelope else ""
                entries = read_job(self._execute, ident, self.rejected.append) if ident else []
                stories.append(Story(ident, entries, [now], envelope.job if envelope else ""))
            elif now.has_failed:  # the job may be on this server, so do not leave it out
                stories.append(Story("", [], [now]))
        return stories

    def _find_again(self, ident: str, instance: str, job_id: int) -> JobLocation:
        """Find a job by its number, or by its envelope id if its server was restarted since.

        beanstalkd's binlog keeps the numbers of jobs.
        """
        if all(place.instance != instance for place in self._places):
            for place in self._places:
                envelope = None if place.trouble else self._read_envelope(place.server, str(job_id))
                if envelope is not None and envelope.id == ident:
                    return self._find([place], place.instance, job_id)
        return self._find(self._places, instance, job_id)

    def _find(self, places: Sequence[JobServer], instance: str, job_id: int) -> JobLocation:
        asked = (one for one in places if one.instance == instance and not one.trouble)
        place = next(asked, None)
        if place is None:
            return JobLocation("", job_id, ELSEWHERE)
        where = str(place.server)
        try:
            with closing(place.server.system.open_actions(place.server, self._timeout)) as actions:
                found = actions.find([str(job_id)])
        except ServerError as error:
            return JobLocation(where, job_id, str(error), has_failed=True)
        if not found:
            gone = f"no longer in {place.server.system.name}: it was deleted"
            return JobLocation(where, job_id, gone)
        (job,) = found
        return JobLocation(where, job_id, job.state, job, self._find_holder(job, job_id))

    def _find_holder(self, job: Job, job_id: int) -> str:
        if job.state != "reserved":
            return ""
        for worker in self._workers:
            if any((one.id, one.queue) == (str(job_id), job.queue) for one in running(worker)):
                return worker.id
        return ""

    def _read_envelope(self, server: Server, job_id: str) -> Envelope | None:
        try:
            with closing(server.system.open_actions(server, self._timeout)) as actions:
                return read_envelope(actions, job_id)
        except ServerError:
            return None
