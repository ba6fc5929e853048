"""Plan actions on failed jobs that are chosen by their kind, their reason or their age."""

from collections.abc import Callable, Sequence
from contextlib import closing
from fnmatch import fnmatch, fnmatchcase
from typing import NamedTuple

from beanwatch.fleet.buried_jobs import find_recorded
from beanwatch.fleet.queue_actions import Step, Target, open_actions, require_action
from beanwatch.net.redis_url import Execute
from beanwatch.queues.base import Job, UnsupportedError
from beanwatch.store.clock import read_time
from beanwatch.store.ledger import BuriedJob, OnRejected, ignore

MAX_LISTED = 1000  # failed jobs of a queue that are looked at, where the server lists them


class BuriedFilter(NamedTuple):
    """Conditions on buried jobs, tested on what the ledger or the queue system knows of a job.

    `job` (the kind of job) and `reason` are globs; `older_than` is the time since the job was
    buried, in seconds. None: no condition.
    """

    job: str | None = None
    reason: str | None = None
    older_than: float | None = None

    @property
    def is_set(self) -> bool:
        """True if at least one condition is set."""
        return self != BuriedFilter()

    def matches(self, buried: BuriedJob, now: float) -> bool:
        """Return True if a job meets all conditions. `now` is the time by Redis's clock (s)."""
        return (
            (self.job is None or fnmatchcase(buried.job, self.job))
            and (self.reason is None or fnmatch(buried.reason.lower(), self.reason.lower()))
            and (self.older_than is None or now - buried.buried_at > self.older_than)
        )

    def matches_job(self, job: Job, fact: str) -> bool:
        """Return True if a failed job meets the conditions on its kind and its reason.

        `fact` is the name of the fact that has the kind of job. An unknown fact meets no condition.
        """
        kind, error = job.facts.get(fact), job.facts.get("error")
        return (self.job is None or (kind is not None and fnmatchcase(str(kind), self.job))) and (
            self.reason is None
            or (error is not None and fnmatch(str(error).lower(), self.reason.lower()))
        )


def plan_by_ledger(
    execute: Execute,
    targets: Sequence[Target],
    action: str,
    choice: BuriedFilter,
    *,
    timeout: float,
    count: int | None = None,
    on_unrecorded: Callable[[Target], None] = lambda _: None,
    on_rejected: OnRejected = ignore,
) -> list[Step]:
    """Plan to `kick` or `delete` the buried jobs whose record in the ledger matches `choice`.

    Only jobs that are still buried are included, at most `count` of each queue (None: all).
    `timeout` is in seconds. `on_unrecorded` is called for each queue with buried jobs of which the
    ledger has no record, `on_rejected` for each record that cannot be read. Raises ServerError and
    RedisError.
    """
    require_action(targets, "find")
    require_action(targets, f"{action}_jobs")
    now = read_time(execute)  # the clock by which the workers have written `buried_at`
    steps = []
    for target in targets:
        with closing(open_actions(target.server, timeout)) as actions:
            recorded = find_recorded(
                execute, actions, target.instance, target.queue, on_rejected=on_rejected
            )
        if target.queue.buried and not recorded:
            on_unrecorded(target)
        fitting = [str(one.job_id) for one in recorded if choice.matches(one, now)][:count]
        if fitting:
            steps.append(Step(target, action, len(fitting), "buried", ids=tuple(fitting)))
    return steps


def plan_by_list(
    targets: Sequence[Target],
    action: str,
    choice: BuriedFilter,
    *,
    timeout: float,
    count: int | None = None,
    on_cut: Callable[[Target], None] = lambda _: None,
) -> list[Step]:
    """Plan to `kick` or `delete` the failed jobs that match `choice`, by the server's own list.

    It is for queue systems that keep the reason of a failure with the job. Only the first
    MAX_LISTED jobs of a queue are looked at; `on_cut` is called for a queue that has more. At most
    `count` of each queue are included (None: all). `timeout` is in seconds. Raises ServerError.
    """
    require_action(targets, "list_jobs")
    require_action(targets, f"{action}_jobs")
    if targets and choice.older_than is not None:
        raise UnsupportedError(
            f"{targets[0].server.node}: {targets[0].server.system.name} does not tell when a job "
            "failed, so --older-than has no meaning here"
        )
    steps = []
    for target in targets:
        with closing(open_actions(target.server, timeout)) as actions:
            listed = actions.list_jobs(target.name, "buried", MAX_LISTED)
        if len(listed) == MAX_LISTED and (target.queue.buried or MAX_LISTED + 1) > MAX_LISTED:
            on_cut(target)
        fact = target.server.system.job_fact
        fitting = [job.id for job in listed if choice.matches_job(job, fact)][:count]
        if fitting:
            steps.append(Step(target, action, len(fitting), "buried", ids=tuple(fitting)))
    return steps
