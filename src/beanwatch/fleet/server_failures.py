"""Failed jobs that a queue server itself keeps, such as RQ's and Sidekiq's, as failed runs."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from beanwatch.fleet.first_jobs import find_error
from beanwatch.fleet.queue_actions import Step, Target, find_targets, has_action, open_actions
from beanwatch.fleet.together import read_together
from beanwatch.queues.base import Job, ServerError, UnsupportedError
from beanwatch.queues.servers import Server
from beanwatch.store.failures import Failure, FailureDetail, failure_id, hash_traceback
from beanwatch.words import count

MAX_LISTED = 500  # failed jobs of a server
MAX_QUEUES = 100  # queues of a server that are read: those with the most failed jobs
MAX_REASON_TEXT = 500  # characters
MAX_DETAIL = 4_000  # characters of an error and bytes of a body that are kept of each job
OUTCOME = "failed"


class Listed(NamedTuple):
    """The failed jobs of one queue. `is_cut` is true if it has more than these."""

    target: Target
    failures: Sequence[Failure]
    is_cut: bool


class ServerFailures(NamedTuple):
    """The failed jobs that one server keeps, by queue. `details` has their bodies and errors by id.

    `left_out` is the number of failed jobs that were not listed.
    """

    queues: Sequence[Listed] = ()
    details: Mapping[str, FailureDetail] = {}
    left_out: int = 0

    @property
    def failures(self) -> list[Failure]:
        """All failed jobs, the newest first; those without a known time come last."""
        found = (one for listed in self.queues for one in listed.failures)
        return sorted(found, key=lambda one: -one.failed_at)


Located = tuple[Server, Job | ServerError | None]
Found = tuple[Server, ServerFailures | ServerError]


def keeps_failures(server: Server) -> bool:
    """Return True if a server keeps its failed jobs, and can list them with their errors."""
    system = server.system
    fields = system.queue_fields | system.server_fields
    return "list_jobs" in system.actions and "buried" in fields


def choose_servers(servers: Iterable[Server], asked: Collection[str] = ()) -> list[Server]:
    """Return the servers whose failed jobs may be read.

    If looking at a job changes it, a person must have asked for the server; `asked` has the names.
    """
    return [
        one
        for one in servers
        if keeps_failures(one) and (not one.system.peek_effect or one.node in asked)
    ]


def read_all(servers: Iterable[Server], timeout: float, asked: Collection[str] = ()) -> list[Found]:
    """Read the failed jobs of servers at the same time; see `choose_servers`.

    It takes at most twice the `timeout` (seconds).
    """
    chosen = choose_servers(servers, asked)
    return read_together(chosen, lambda one: read_server(one, timeout), timeout * 2)


def read_server(server: Server, timeout: float) -> ServerFailures:
    """Read the failed jobs that a server keeps, at most MAX_LISTED. Raises ServerError.

    `timeout` (seconds) limits each wait, and twice of it the listing of all queues.
    """
    targets = [one for one in find_targets([server], "*", timeout) if one.queue.buried]
    targets.sort(key=lambda one: -(one.queue.buried or 0))
    end = time.monotonic() + 2 * timeout
    found: list[Listed] = []
    details: dict[str, FailureDetail] = {}
    with closing(open_actions(server, timeout)) as actions:
        for target in targets[:MAX_QUEUES]:
            room = MAX_LISTED - len(details)
            if room <= 0 or time.monotonic() > end:
                break
            try:
                jobs = actions.list_jobs(target.name, "buried", room)
            except UnsupportedError:  # such as a dead-letter queue of several queues
                continue
            failures = _convert(target, jobs, details)
            found.append(Listed(target, failures, len(jobs) < (target.queue.buried or 0)))
    there = sum(one.queue.buried or 0 for one in targets)
    return ServerFailures(found, details, max(0, there - len(details)))


def read_whole(target: Target, failure: Failure, timeout: float) -> FailureDetail | None:
    """Return the whole body and error of a failed job, if its system finds jobs by their ids.

    None if it does not, or if the job has not failed any more. Raises ServerError.
    """
    if not has_action(target, "locate"):
        return None
    with closing(open_actions(target.server, timeout)) as actions:
        job = actions.locate(failure.job_id)
    if job is None or (job.queue, job.state) != (target.name, "buried"):
        return None
    return FailureDetail(job.body or b"", str(job.facts.get("error", "")))


def locate_everywhere(servers: Iterable[Server], job_id: str, timeout: float) -> list[Located]:
    """Look for a job on the servers whose systems find jobs by their ids, at the same time."""
    able = [one for one in servers if "locate" in one.system.actions]

    def read(server: Server) -> Job | None:
        with closing(open_actions(server, timeout)) as actions:
            return actions.locate(job_id)

    return read_together(able, read, timeout)


def _convert(
    target: Target, jobs: Sequence[Job], details: dict[str, FailureDetail]
) -> list[Failure]:
    """Return failed jobs as failed runs, and add their bodies and errors to `details`."""
    seen: Counter[str] = Counter()
    failures = []
    for job in jobs:
        one = to_failure(target.server, job, seen[key := _key(job)])
        seen[key] += 1
        error = str(job.facts.get("error", ""))
        details[one.id] = FailureDetail((job.body or b"")[:MAX_DETAIL], error[-MAX_DETAIL:])
        failures.append(one)
    return failures


def _key(job: Job) -> str:
    """Return a text that differs between failed jobs. An id is not enough: RabbitMQ has none."""
    return f"{job.id}\0{job.failed_at}\0{hash_traceback(repr(job.body))}"


def to_failure(server: Server, job: Job, place: int = 0) -> Failure:
    """Return a failed job as a failed run. `place` numbers jobs with equal keys, from 0."""
    error = str(job.facts.get("error", ""))
    origin = str(job.facts.get("origin") or job.queue)
    return Failure(
        id=failure_id(server.node, job.queue, _key(job), place, 0.0),
        failed_at=job.failed_at or 0.0,
        address=str(server),
        queue=origin,
        job=str(job.facts.get(server.system.job_fact) or origin),
        job_id=job.id,
        attempt=job.attempts or 0,
        outcome=OUTCOME,
        reason=find_error(error)[:MAX_REASON_TEXT],
        traceback_hash=hash_traceback(error if "\n" in error else ""),
        body_size=-1 if job.body is None else int(job.facts.get("full_size", len(job.body))),
        node=server.node,
    )


def plan_chosen(
    found: Iterable[Found], chosen: Collection[Failure], action: str
) -> tuple[list[Step], list[str]]:
    """Plan to `kick` or `delete` the chosen ones of these failed jobs.

    Return the steps, and a text for each part of the choice that is impossible. A system without
    an action for single jobs can only act on all failed jobs of a queue.
    """
    ids = {one.id for one in chosen}
    steps: list[Step] = []
    refused: list[str] = []
    for server, result in found:
        if isinstance(result, ServerError):
            continue
        for target, failures, is_cut in result.queues:
            wanted = [one for one in failures if one.id in ids]
            if not wanted:
                continue
            step = Step(target, action, len(wanted), "buried")
            if has_action(target, f"{action}_jobs"):
                steps.append(step._replace(ids=tuple(one.job_id for one in wanted)))
            elif is_cut or len(wanted) < len(failures):
                jobs = count(len(wanted), server.system.failed.noun)
                refused.append(
                    f"{jobs} of {target} left out: {server.system.name} can only act on all failed "
                    f"jobs of a queue (beanwatch queues {'retry' if action == 'kick' else action})"
                )
            elif has_action(target, "kick" if action == "kick" else "empty"):
                steps.append(step)
            else:
                refused.append(f"{target} left out: {server.system.name} has no such action")
    return steps, refused
