"""Retry or delete failed runs that the workers recorded, whether their jobs still exist or not."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from beanwatch.fleet.job_story import DELETED, JobServer
from beanwatch.fleet.queue_actions import open_actions
from beanwatch.net.redis_url import Execute, RedisError
from beanwatch.queues.base import Actions, Job, ServerError
from beanwatch.queues.servers import Server
from beanwatch.store.failures import Failure, FailureReader, read_detail, remove_failures
from beanwatch.store.ledger import LedgerEntry, read_job, read_job_by_id

MAX_TIMEOUTS = 3  # jobs in a row for which a server gives no answer; then it is not asked again


class FailedJob(NamedTuple):
    """A job with its failed runs, the newest first."""

    runs: Sequence[Failure]

    @property
    def last(self) -> Failure:
        """The newest failed run, by which the job is retried."""
        return self.runs[0]

    @property
    def ids(self) -> list[str]:
        """The ids of the recorded runs."""
        return [one.id for one in self.runs]


class JobResult(NamedTuple):
    """The result of an action on a failed job. `has_changed` is false if nothing was done."""

    job: FailedJob
    text: str
    has_changed: bool = False


def group_by_job(failures: Iterable[Failure]) -> list[FailedJob]:
    """Group failed runs by their jobs; the order stays. A job that failed often is retried once."""
    jobs: dict[tuple[str, str, str], list[Failure]] = {}
    for one in failures:
        jobs.setdefault(job_of(one), []).append(one)
    return [FailedJob(runs) for runs in jobs.values()]


def job_of(run: Failure) -> tuple[str, str, str]:
    """Return what is equal for all failed runs of one job."""
    return (run.uuid, run.queue, "") if run.uuid else (run.server, run.queue, run.job_id)


class FailureActions:
    """Acts on failed jobs, on the servers in `places`.

    A job that is still buried is kicked. One that is gone, because it was deleted or its server was
    restarted without a binlog, is put again with the recorded body, unless the ledger tells that a
    later run has done it. `timeout` (seconds) limits each wait for a server. Close it after use.

    `named` are the servers that a person has named, if any: then no record of a run on another one
    is deleted.
    """

    def __init__(
        self,
        execute: Execute,
        places: Sequence[JobServer],
        timeout: float,
        *,
        named: Collection[Server] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._execute, self._places, self._timeout = execute, places, timeout
        self._named, self._clock = named, clock
        self._open: dict[str, Actions] = {}  # by the node of the server
        self._timeouts: Counter[str] = Counter()  # in a row, by the node of the server
        self._asked = ""  # the node of the server that was asked for the present job
        self._recorded: dict[tuple[str, str, str], FailedJob] | None = None  # by `job_of`

    def close(self) -> None:
        """Close the connections."""
        for actions in self._open.values():
            actions.close()

    def retry(self, jobs: Iterable[FailedJob]) -> Iterator[JobResult]:
        """Retry each job, and yield what was done.

        All records of a job's failed runs are removed once it is ready again, not only those that
        were chosen: a retry of another one would put the job again. If this is interrupted before,
        they stay: the job may be retried twice, and is never lost.
        """
        for job in jobs:
            yield self._attempt(job, self._retry_one)

    def delete(self, jobs: Iterable[FailedJob]) -> Iterator[JobResult]:
        """Delete each job if it is still buried, and the records of its failed runs."""
        for job in jobs:
            yield self._attempt(job, self._delete_one)

    def _attempt(self, job: FailedJob, act: Callable[[FailedJob], JobResult]) -> JobResult:
        self._asked, started_at, is_timeout = "", self._clock(), False
        try:
            result = act(job)
        except (ServerError, RedisError) as error:
            is_slow = self._clock() - started_at >= self._timeout / 2
            is_timeout = is_slow and isinstance(error, ServerError)
            result = JobResult(job, str(error))
        self._timeouts[self._asked] = self._timeouts[self._asked] + 1 if is_timeout else 0
        return result

    def _retry_one(self, chosen: FailedJob) -> JobResult:
        job = self._with_all_runs(chosen)
        run = job.last
        if not run.server and not run.address:  # recorded by a worker of Celery, RQ or Dramatiq
            text = "its record does not say on which server it is: retry it in its own queue system"
            return JobResult(job, text)
        place = self._find_place(run)
        if place is None:
            where = run.address or run.server
            return JobResult(job, f"its server {where} is not one of the given servers")
        actions = self._actions(place)
        there = self._find_job(actions, place, run)
        if there is not None and there.state == "buried":
            if not sum(actions.kick_jobs(run.queue, [run.job_id])):
                return JobResult(job, "another person or worker has taken it meanwhile")
            return self._forget(job, "kicked")
        if there is not None:
            return JobResult(job, f"it is {there.state} already")
        if end := self._find_end(run):
            how = "done" if end.outcome == "ok" else end.outcome
            return self._forget(job, f"not put again: {how} at attempt {end.attempt}")
        if not is_place_of(place, run):
            return JobResult(job, f"{place.server} does not have it, and {name_server(run)}")
        detail = read_detail(self._execute, run.id)
        if detail is None:
            return JobResult(job, "its record is gone: it was retried or deleted meanwhile")
        if not run.has_whole_body:
            size = f" of {run.body_size} bytes" if run.body_size > 0 else ""
            return JobResult(job, f"it is gone, and its body{size} was not kept whole")
        number = actions.put(run.queue, detail.body, run.priority, run.ttr)
        return self._forget(job, f"put again as job {number}")

    def _delete_one(self, job: FailedJob) -> JobResult:
        run, there = job.last, None
        place = self._find_place(run)
        if place is not None:
            actions = self._actions(place)
            there = self._find_job(actions, place, run)
            if there is not None and there.state == "buried":
                sum(actions.delete_jobs(run.queue, [run.job_id]))
                return self._forget(job, "deleted")
        if self._named and there is None and not is_of(run, self._named, self._places):
            return JobResult(job, name_server(run))
        return self._forget(job, "deleted from the list")

    def _forget(self, job: FailedJob, text: str) -> JobResult:
        remove_failures(self._execute, job.ids)
        return JobResult(job, text, has_changed=True)

    def _with_all_runs(self, job: FailedJob) -> FailedJob:
        """Return the job with all its recorded runs, as they were before the first action.

        So a run that fails after the retry keeps its record.
        """
        if self._recorded is None:
            every = group_by_job(FailureReader().read(self._execute))
            self._recorded = {job_of(one.last): one for one in every}
        return self._recorded.get(job_of(job.last), job)

    def _find_end(self, run: Failure) -> LedgerEntry | None:
        """Return a later recorded run of the same job that ended with its deletion, or None.

        By default, the ledger leaves out first runs that succeeded. A job keeps its number when
        beanstalkd reads its binlog; other jobs may have the same uuid, and are not this one.
        """
        if run.uuid:
            entries = read_job(self._execute, run.uuid)
        elif run.job_id.isascii() and run.job_id.isdigit():
            entries = read_job_by_id(self._execute, run.server, int(run.job_id))
        else:
            return None
        for one in entries:
            if (one.queue, one.job_id) != (run.queue, run.job_id):
                continue
            is_same = one.server == run.server
            is_later = one.attempt > run.attempt if is_same else one.started_at > run.started_at
            if one.outcome in DELETED and is_later:
                return one
        return None

    def _find_place(self, run: Failure) -> JobServer | None:
        """Return the server of a failed run: the same process, or else the same address.

        Else it is the only given server, which may be the same one under another name: then
        `is_place_of` is false. None if it is not one of the given ones. Raises ServerError if it
        may be one that failed.
        """
        able = [one for one in self._places if not one.trouble]
        for place in able:
            if place.instance == run.server:
                return place
        for place in able:
            if run.address and is_place_of(place, run):
                return place
        if len(self._places) == 1 and able:
            return able[0]
        trouble = next((one.trouble for one in self._places if one.trouble), "")
        if trouble:
            raise ServerError(trouble)
        return None

    def _find_job(self, actions: Actions, place: JobServer, run: Failure) -> Job | None:
        """Return the job if the server still has it; another job may have its number by now."""
        found = actions.find([run.job_id])
        if not found or found[0].queue != run.queue:
            return None
        if place.instance == run.server:
            return found[0]
        detail = read_detail(self._execute, run.id)
        is_same = detail is not None and actions.body(run.job_id) == detail.body
        return found[0] if is_same else None

    def _actions(self, place: JobServer) -> Actions:
        node = place.server.node
        if self._timeouts[node] >= MAX_TIMEOUTS:
            raise ServerError(
                f"not tried, because {place.server} gave no answer for {MAX_TIMEOUTS} jobs in a row"
            )
        self._asked = node
        if node not in self._open:
            self._open[node] = open_actions(place.server, self._timeout)
        return self._open[node]


def is_place_of(place: JobServer, run: Failure) -> bool:
    """Return False if the record names another server than `place`; True if it names none."""
    return not run.address or is_of(run, [place.server], [place])


def is_of(run: Failure, servers: Iterable[Server], places: Iterable[JobServer]) -> bool:
    """Return True if a run is known to be of one of these servers.

    Its record has the address or the name that its worker was given, and the instance of the
    server's process; `places` has the present instances.
    """
    return any(run.address in (str(one), one.node) for one in servers) or any(
        place.instance == run.server for place in places if place.instance
    )


def name_server(run: Failure) -> str:
    """Return what to do with a run that is of none of the servers that a person has named."""
    if not run.address:
        return "its record does not say on which server it was: leave out --server"
    return f"it was on {run.address}: name that server with --server"


def act_on_failures(
    execute: Execute,
    places: Sequence[JobServer],
    action: str,
    jobs: Sequence[FailedJob],
    timeout: float,
    *,
    named: Collection[Server] = (),
) -> Iterator[JobResult]:
    """Retry (`retry`) or delete (`delete`) failed jobs, one after another.

    `named` are the servers that a person has named: see FailureActions.
    """
    with closing(FailureActions(execute, places, timeout, named=named)) as actions:
        yield from actions.retry(jobs) if action == "retry" else actions.delete(jobs)
