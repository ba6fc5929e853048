"""The first jobs of a queue, and why its buried jobs were buried."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from beanwatch.fleet.queue_actions import (
    FREE_STATES,
    Target,
    find_still_buried,
    need_action,
    open_actions,
)
from beanwatch.net.redis_url import Execute
from beanwatch.queues.base import Job
from beanwatch.store.ledger import find_buried

MAX_LOOKED_UP = 1000  # buried jobs whose reasons are counted


class Reason(NamedTuple):
    """Why jobs were buried: the kind of job, the reason, how many, and the last one's id."""

    job: str
    reason: str
    jobs: int
    job_id: int


def peek_queue(target: Target, timeout: float) -> Iterator[Job]:
    """The first ready, delayed and buried job, with its body. Raises ServerError."""
    need_action([target], "peek")
    with closing(open_actions(target.server, timeout)) as actions:
        for state in FREE_STATES:
            # Without a count there may be one: it is asked for.
            if not target.server.system.can_tell(state) or getattr(target.queue, state) == 0:
                continue
            job = actions.peek(target.name, state)
            if job is not None:
                yield job


def count_reasons(target: Target, execute: Execute, timeout: float) -> list[Reason]:
    """The reasons of the jobs that were buried last and still are, the most frequent first.

    Raises ServerError and RedisError.
    """
    recorded = find_buried(execute, target.instance, target.name)
    recorded = sorted(recorded, key=lambda one: one.buried_at)[-MAX_LOOKED_UP:]
    ids = [str(one.job_id) for one in recorded]
    need_action([target], "find")
    with closing(open_actions(target.server, timeout)) as actions:
        still = set(find_still_buried(actions, target.name, ids))
    recorded = [one for one in recorded if str(one.job_id) in still]
    counts = Counter((one.job, one.reason) for one in recorded)
    last = {(one.job, one.reason): one.job_id for one in recorded}
    return [Reason(*kind, jobs, last[kind]) for kind, jobs in counts.most_common()]
