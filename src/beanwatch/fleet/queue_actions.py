"""Actions on queues: find the queues, plan the steps, then run them.

The plan is complete before the first step runs, so that an operator can confirm it. If a part of it
is impossible or a needed number is unknown, planning raises ServerError and nothing was changed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from beanwatch.fleet.together import read_together
from beanwatch.queues.base import (
    Actions,
    Chosen,
    ReaderOptions,
    ServerError,
    UnsupportedError,
    Wanted,
)
from beanwatch.queues.model import FREE_STATES, QueueState
from beanwatch.queues.selection import INTERNAL, Selection
from beanwatch.queues.servers import Server

OWN_QUEUES = "beanwatch."  # the names of queues that beanwatch itself creates begin with this


class Target(NamedTuple):
    """A queue on a server, as the target of an action.

    `instance` identifies the server's process; it is part of the keys of its jobs in the
    ledger, the workers' record of runs in Redis.
    """

    server: Server
    instance: str
    queue: QueueState

    @property
    def name(self) -> str:
        """The name of the queue, without its server."""
        return self.queue.name

    def __str__(self) -> str:
        return f"{self.server.node} {self.queue.name}"


class Step(NamedTuple):
    """One action on one queue.

    `action` is "kick", "delete", "move", "pause" or "resume". To kick, delete or move, it acts on
    `jobs` jobs in `state`, or on the jobs with these `ids` if they are given. `seconds` is the
    length of a pause, `to` the queue to which jobs are moved.
    """

    target: Target
    action: str
    jobs: int = 1
    state: str = ""
    ids: tuple[str, ...] | None = None
    seconds: int = 0
    to: str = ""

    @property
    def is_pause(self) -> bool:
        """True for "pause" and "resume", which act on the whole queue and not on jobs."""
        return self.action in ("pause", "resume")


# -- finding queues


def find_targets(
    servers: Iterable[Server],
    glob: str,
    timeout: float,
    *,
    heads: Sequence[str] = (),
    on_error: Callable[[ServerError], object] | None = None,
) -> list[Target]:
    """Read the servers at the same time, and return every queue whose name the glob matches.

    Queues that beanwatch itself creates are only included if the glob begins with "beanwatch.".
    `timeout` (seconds) limits each of the two steps of reading a server. `heads` are states,
    "ready" or "buried", for which the age of the first job is read. `on_error` is called for each
    server that cannot be read; without it, this raises the first ServerError.
    """
    selection = Selection((glob,), internal=() if glob.startswith(OWN_QUEUES) else INTERNAL)
    wanted = Wanted(choose=lambda names: selection.choose(names, ()), heads=heads)

    def read(server: Server) -> list[Target]:
        with closing(server.system.open_reader(server, ReaderOptions(timeout))) as reader:
            reading = reader.read(wanted)
        if reading.queues is None:
            raise ServerError(reading.trouble)
        instance = (reading.server and reading.server.instance) or ""
        return [Target(server, instance, queue) for queue in reading.queues.values()]

    targets: list[Target] = []
    for _, found in read_together(servers, read, timeout * 2):
        if not isinstance(found, ServerError):
            targets += found
        elif on_error is None:
            raise found
        else:
            on_error(found)
    return targets


def list_queue_names(
    server: Server, timeout: float, note: Callable[[str], object] | None = None
) -> list[str]:
    """Return the names of a server's queues, without those that beanwatch creates.

    Names that no queue of this system can have are left out; `note` is called with a text about
    them. `timeout` is in seconds. Raises ServerError.
    """
    names: list[str] = []

    def choose(found: Sequence[str]) -> Chosen:
        names.extend(filter(Selection().is_wanted, found))
        return Chosen(())  # so that no queue's numbers are read

    with closing(server.system.open_reader(server, ReaderOptions(timeout))) as reader:
        reading = reader.read(Wanted(server=False, choose=choose))
    if reading.queues is None:
        raise ServerError(reading.trouble)
    if note is not None:
        for text in reading.implausible:
            note(f"{server}: {text.removeprefix('server: ')}")
    return names


def require_action(targets: Iterable[Target], action: str) -> None:
    """Raise UnsupportedError if the queue system of a target does not have this action."""
    for target in targets:
        if not has_action(target, action):
            raise UnsupportedError(
                f"{target.server.node}: {target.server.system.name} has no action {action!r} "
                "(see beanwatch queues systems)"
            )


def has_action(target: Target, action: str) -> bool:
    """Return True if the queue system of a target has this action."""
    return action in target.server.system.actions


class Offer(NamedTuple):
    """An action that is possible on a queue, for `states` of its jobs, or for the whole queue.

    `words` are an imperative for people: "retry failed jobs".
    """

    action: str
    words: str
    states: tuple[str, ...] = ()


def has_state(server: Server, queue: Any, state: str) -> bool:
    """Return True if a queue can have jobs in a state. `queue` has the number as an attribute."""
    return getattr(queue, state) is not None or server.can_tell(state)


def list_offers(server: Server, queue: Any) -> list[Offer]:
    """Return what can be done with a queue, by what its system declares.

    `queue` has the numbers of jobs by state as its attributes.
    """
    system, found = server.system, list[Offer]()
    has = system.actions.__contains__
    if has("kick") and has_state(server, queue, "buried"):
        found.append(Offer("kick", f"{system.failed.kick} {system.failed.noun}s", ("buried",)))
    if has("pause"):
        found += [Offer("pause", "pause for 1 h"), Offer("resume", "resume")]
    for action, method, states in (
        ("move", "move", FREE_STATES),
        ("delete", "empty", system.empties),
    ):
        there = tuple(state for state in states if has_state(server, queue, state))
        if has(method) and there:
            found.append(Offer(action, action, there))
    if has("peek") and system.peek_effect:
        found.append(Offer("peek", "look at the first jobs"))
    return found


def count_jobs(server: Server, state: str, jobs: int) -> str:
    """Return a number of jobs in a state in the words of their system: `3,000 dead letters`."""
    noun = server.system.failed.noun if state == "buried" else f"{state} job"
    return f"{jobs:,} {noun}{'s' if jobs != 1 else ''}"


# -- planning


def plan_jobs(
    targets: Sequence[Target], action: str, states: Iterable[str], count: int | None = None
) -> list[Step]:
    """Plan to `kick` or `delete` jobs: one step for each queue and state that has any.

    `count` limits the jobs of each step; None: all. Raises ServerError, also if the system of a
    queue cannot delete the jobs that it has in one of the states.
    """
    require_action(targets, "kick" if action == "kick" else "empty")
    steps = []
    for target in targets:
        system = target.server.system
        for state in states:
            if not has_state(target.server, target.queue, state):
                continue
            there = known_count(target, state)
            if there and action == "delete" and state not in system.empties:
                jobs = count_jobs(target.server, state, there)
                others = " ".join(f"--only {one}" for one in system.empties)
                raise UnsupportedError(
                    f"{target}: {system.name} cannot delete its {jobs}; leave them out: {others}"
                )
            if there and count != 0:
                steps.append(Step(target, action, min(there, count or there), state))
    return steps


def known_count(target: Target, state: str) -> int:
    """Return the number of jobs of a queue in a state. Raises ServerError if it is unknown."""
    found: int | None = getattr(target.queue, state)
    if found is None:
        raise ServerError(f"{target}: the number of {state} jobs is unknown")
    return found


def plan_move(
    targets: Sequence[Target], states: Iterable[str], to: str, count: int | None = None
) -> list[Step]:
    """Plan to move jobs in these states to the queue `to` of the same server. Raises ServerError.

    `count` limits the jobs of each step; None: all.
    """
    require_action(targets, "move")
    steps = []
    for target in targets:
        if target.name == to:
            raise UnsupportedError(f"cannot move jobs from the queue {to!r} to itself")
        for state in states:
            there = known_count(target, state)
            if there and count != 0:
                steps.append(Step(target, "move", min(there, count or there), state, to=to))
    return steps


def plan_pause(targets: Sequence[Target], seconds: int) -> list[Step]:
    """Plan to let no consumer reserve jobs of these queues for `seconds`. Raises ServerError."""
    require_action(targets, "pause")
    return [Step(target, "pause", seconds=seconds) for target in targets]


def plan_resume(targets: Sequence[Target]) -> list[Step]:
    """Plan to end the pause of each queue that is or may be paused. Raises ServerError."""
    require_action(targets, "pause")
    return [Step(target, "resume") for target in targets if target.queue.paused is not False]


# -- running the steps


def open_actions(server: Server, timeout: float) -> Actions:
    """Return the actions on a server's queues. `timeout` (seconds) limits each wait for a reply."""
    return server.system.open_actions(server, timeout)


def carry_out(actions: Actions, step: Step) -> Iterator[int]:
    """Run one step, and yield the number of jobs that each part of it changed. Raises ServerError.

    A pause or resume yields 1, or 0 if the queue does not exist any more.
    """
    queue = step.target.name
    if step.is_pause:
        return iter([int(actions.pause(queue, step.seconds))])
    if step.ids is not None:
        by_id = actions.kick_jobs if step.action == "kick" else actions.delete_jobs
        return by_id(queue, step.ids)
    if step.action == "kick":
        return actions.kick(queue, step.jobs)
    if step.action == "move":
        return actions.move(queue, step.state, step.to, step.jobs)
    return actions.empty(queue, step.state, step.jobs)
