"""Read the first jobs of a queue, and count the reasons for which its jobs were buried."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from beanwatch.fleet.buried_jobs import find_recorded
from beanwatch.fleet.queue_actions import (
    Target,
    has_state,
    open_actions,
    require_action,
)
from beanwatch.net.redis_url import Execute
from beanwatch.queues.base import Actions, Job, UnsupportedError
from beanwatch.queues.model import FREE_STATES

MAX_LOOKED_UP = 1000  # most buried jobs whose reasons are counted; the latest ones are taken


class Reason(NamedTuple):
    """A reason for which jobs were buried.

    `job` is the kind of job, `jobs` the number of jobs, `job_id` the id of the one buried last.
    """

    job: str
    reason: str
    jobs: int
    job_id: int


def peek_queue(target: Target, timeout: float, jobs: int = 1) -> Iterator[Job]:
    """Yield the first ready, the first delayed and the first buried jobs of a queue, with bodies.

    `jobs` is the most of each state; more than one needs a queue system that can list them.
    `timeout` (seconds) limits each wait for the server. Raises ServerError. A state whose jobs the
    queue system cannot show is an error only if no other job is shown.
    """
    require_action([target], "list_jobs" if jobs > 1 else "peek")
    refused, has_shown = None, False
    with closing(open_actions(target.server, timeout)) as actions:
        for state in FREE_STATES:
            # If the count is unknown there may be a job, so request it.
            if getattr(target.queue, state) == 0 or not has_state(
                target.server, target.queue, state
            ):
                continue
            try:
                found = _read_jobs(actions, target.name, state, jobs)
            except UnsupportedError as error:
                refused = error
                continue
            has_shown = has_shown or bool(found)
            yield from found
    if refused and not has_shown:
        raise refused


def _read_jobs(actions: Actions, queue: str, state: str, jobs: int) -> list[Job]:
    if jobs > 1:
        return actions.list_jobs(queue, state, jobs)
    job = actions.peek(queue, state)
    return [] if job is None else [job]


def find_error(text: str) -> str:
    """Return the line of an error's text that names the error.

    A traceback of Python ends with it; the texts of other languages begin with it.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def describe_job(job: Job, max_body: int) -> str:
    """Return a job as lines of text: its state, why it failed, and the start of its body."""
    lines = [f"{job.state} job {job.id}"]
    if error := str(job.facts.get("error", "")):
        lines.append(error[:max_body])
    if job.body is not None:
        lines.append(job.body[:max_body].decode("utf-8", "backslashreplace"))
    return "\n".join(lines)


def count_reasons(target: Target, execute: Execute, timeout: float) -> list[Reason]:
    """Count the recorded reasons of a queue's buried jobs, and return the most frequent first.

    The reasons are in the ledger, the workers' record of runs in Redis. Only the MAX_LOOKED_UP jobs
    that were buried last count, and of these the ones that are still buried. `timeout` (seconds)
    limits each wait for the server. Raises ServerError and RedisError.
    """
    require_action([target], "find")
    with closing(open_actions(target.server, timeout)) as actions:
        recorded = find_recorded(
            execute, actions, target.instance, target.queue, limit=MAX_LOOKED_UP
        )
    recorded.sort(key=lambda one: one.buried_at)
    counts = Counter((one.job, one.reason) for one in recorded)
    last = {(one.job, one.reason): one.job_id for one in recorded}
    return [Reason(*kind, jobs, last[kind]) for kind, jobs in counts.most_common()]
