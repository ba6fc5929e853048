"""Actions on queues: which queues and jobs are meant, and then doing it, in steps.

A plan is made first, so that a person can see it before anything happens. Half of a plan is none:
whatever is not known, or not possible, raises ServerError before anything was changed.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatch, fnmatchcase
from typing import NamedTuple

from beanwatch.net.redis_url import Execute
from beanwatch.queues.base import (
    Actions,
    Chosen,
    ReaderOptions,
    ServerError,
    UnsupportedError,
    Wanted,
)
from beanwatch.queues.model import QueueState
from beanwatch.queues.selection import INTERNAL, Selection
from beanwatch.queues.servers import Server
from beanwatch.store.ledger import BuriedJob, find_buried

OWN_QUEUES = "beanwatch."  # how the names of beanwatch's own queues begin
FREE_STATES = ("ready", "delayed", "buried")  # the states of jobs that no consumer holds


class Target(NamedTuple):
    """One queue on one server. `instance` is the server's: the ledger knows its jobs under it."""

    server: Server
    instance: str
    queue: QueueState

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.queue.name

    def __str__(self) -> str:
        return f"{self.server.node} {self.queue.name}"


class Step(NamedTuple):
    """One thing to do to one queue: with `jobs` jobs in a state, with those of `ids`, or a pause.

    `action` is kick, delete, pause or resume; `seconds` is how long a pause lasts.
    """

    target: Target
    action: str
    jobs: int = 1
    state: str = ""
    ids: tuple[str, ...] | None = None
    seconds: int = 0

    @property
    def is_pause(self) -> bool:
        """True for what concerns the queue, and not single jobs."""
        return self.action in ("pause", "resume")


class Choice(NamedTuple):
    """Which buried jobs are meant, by what the worker recorded when it buried them.

    `job` and `reason` are globs, `older_than` is in seconds.
    """

    job: str | None = None
    reason: str | None = None
    older_than: float | None = None

    @property
    def is_made(self) -> bool:
        """True if there is anything to choose by."""
        return self != Choice()

    def fits(self, buried: BuriedJob, now: float) -> bool:
        """True if this job is meant. `now` is in seconds since the epoch."""
        return (
            (self.job is None or fnmatchcase(buried.job, self.job))
            and (self.reason is None or fnmatch(buried.reason.lower(), self.reason.lower()))
            and (self.older_than is None or now - buried.buried_at > self.older_than)
        )


# -- finding queues


def find_targets(
    servers: Iterable[Server], glob: str, timeout: float, *, heads: Sequence[str] = ()
) -> list[Target]:
    """Every queue that the glob matches; `heads` as in `Wanted`. Raises ServerError.

    Beanwatch's own queues are meant only by a glob that begins as they do.
    """
    selection = Selection((glob,), internal=() if glob.startswith(OWN_QUEUES) else INTERNAL)
    wanted = Wanted(choose=lambda names: selection.choose(names, ()), heads=heads)
    targets: list[Target] = []
    for server in servers:
        with closing(server.system.open_reader(server, ReaderOptions(timeout))) as reader:
            reading = reader.read(wanted)
        if reading.queues is None:
            raise ServerError(reading.trouble)
        instance = (reading.server and reading.server.instance) or ""
        targets += [Target(server, instance, queue) for queue in reading.queues.values()]
    return targets


def list_queue_names(server: Server, timeout: float) -> list[str]:
    """The names of a server's queues, without beanwatch's own. Raises ServerError."""
    names: list[str] = []

    def choose(found: Sequence[str]) -> Chosen:
        names.extend(filter(Selection().is_wanted, found))
        return Chosen(())  # so that no queue's numbers are read

    with closing(server.system.open_reader(server, ReaderOptions(timeout))) as reader:
        reading = reader.read(Wanted(server=False, choose=choose))
    if reading.queues is None:
        raise ServerError(reading.trouble)
    return names


def need_action(targets: Iterable[Target], action: str) -> None:
    """Raise UnsupportedError for the first server whose system has not got this action."""
    for target in targets:
        system = target.server.system
        if action not in system.actions:
            raise UnsupportedError(
                f"{target.server.node}: {system.name} has no action {action!r} "
                "(see beanwatch queues systems)"
            )


# -- planning


def plan_jobs(
    targets: Sequence[Target], action: str, states: Iterable[str], count: int | None = None
) -> list[Step]:
    """`kick` or `delete` all jobs in these states, or `count` of each. Raises ServerError."""
    need_action(targets, "kick" if action == "kick" else "empty")
    steps = []
    for target in targets:
        for state in states:
            if not target.server.system.can_tell(state):
                continue  # its jobs have no such state
            there = known_count(target, state)
            if there and count != 0:
                steps.append(Step(target, action, min(there, count or there), state))
    return steps


def known_count(target: Target, state: str) -> int:
    """The jobs of a queue in a state. Raises ServerError if that is not known."""
    found: int | None = getattr(target.queue, state)
    if found is None:
        raise ServerError(f"{target}: how many jobs are {state} is not known")
    return found


def plan_by_ledger(
    execute: Execute,
    targets: Sequence[Target],
    action: str,
    choice: Choice,
    *,
    now: float,
    timeout: float,
    count: int | None = None,
) -> list[Step]:
    """`kick` or `delete` the buried jobs that fit, as far as they are still there.

    `now` is in seconds since the epoch. Raises ServerError and RedisError.
    """
    need_action(targets, "find")
    need_action(targets, f"{action}_jobs")
    steps = []
    for target in targets:
        buried = find_buried(execute, target.instance, target.name)
        fitting = [str(entry.job_id) for entry in buried if choice.fits(entry, now)]
        if not fitting:
            continue
        with closing(open_actions(target.server, timeout)) as actions:
            still = find_still_buried(actions, target.name, fitting)[:count]
        if still:
            steps.append(Step(target, action, len(still), "buried", ids=tuple(still)))
    return steps


def find_unrecorded(execute: Execute, targets: Iterable[Target]) -> list[Target]:
    """The queues with buried jobs of which the ledger knows none. Raises RedisError."""
    return [
        target
        for target in targets
        if target.queue.buried and not find_buried(execute, target.instance, target.name)
    ]


def find_still_buried(actions: Actions, queue: str, ids: Sequence[str]) -> list[str]:
    """Those of these jobs that are buried in this queue now. Raises ServerError."""
    found = actions.find(ids)
    return [job.id for job in found if job.state == "buried" and job.queue == queue]


def plan_pause(targets: Sequence[Target], seconds: int) -> list[Step]:
    """Let nobody take jobs for so long. Raises ServerError."""
    need_action(targets, "pause")
    return [Step(target, "pause", seconds=seconds) for target in targets]


def plan_resume(targets: Sequence[Target]) -> list[Step]:
    """End the pauses, also of a queue of which it is not known if it is paused."""
    need_action(targets, "pause")
    return [Step(target, "resume") for target in targets if target.queue.paused is not False]


# -- doing it


def open_actions(server: Server, timeout: float) -> Actions:
    """The actions of this server's system. Raises ServerError."""
    return server.system.open_actions(server, timeout)


def carry_out(actions: Actions, step: Step) -> Iterator[int]:
    """Do one step, and yield how many jobs each part of it changed. Raises ServerError.

    A pause yields 1, or 0 if there is no such queue any more.
    """
    queue = step.target.name
    if step.is_pause:
        return iter([int(actions.pause(queue, step.seconds))])
    if step.ids is not None:
        by_id = actions.kick_jobs if step.action == "kick" else actions.delete_jobs
        return by_id(queue, step.ids)
    if step.action == "kick":
        return actions.kick(queue, step.jobs)
    return actions.empty(queue, step.state, step.jobs)
