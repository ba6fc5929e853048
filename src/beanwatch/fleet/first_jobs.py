"""Read the first jobs of a queue, and count the reasons for which its jobs were buried."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from beanwatch.fleet.buried_jobs import find_recorded
from beanwatch.fleet.queue_actions import (
    FREE_STATES,
    Target,
    open_actions,
    require_action,
)
from beanwatch.net.redis_url import Execute
from beanwatch.queues.base import Job

MAX_LOOKED_UP = 1000  # most buried jobs whose reasons are counted; the latest ones are taken


class Reason(NamedTuple):
    """A reason for which jobs were buried.

    `job` is the kind of job, `jobs` the number of jobs, `job_id` the id of the one buried last.
    """

    job: str
    reason: str
    jobs: int
    job_id: int


def peek_queue(target: Target, timeout: float) -> Iterator[Job]:
    """Yield the first ready, the first delayed and the first buried job of a queue, with bodies.

    `timeout` (seconds) limits each wait for the server. Raises ServerError.
    """
    require_action([target], "peek")
    with closing(open_actions(target.server, timeout)) as actions:
        for state in FREE_STATES:
            # If the count is unknown there may be a job, so request it.
            if not target.server.system.can_tell(state) or getattr(target.queue, state) == 0:
                continue
            job = actions.peek(target.name, state)
            if job is not None:
                yield job


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
