"""Which queues and jobs a command means: found first, so that they can be shown before it acts."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch, fnmatchcase
from typing import NamedTuple

from beanwatch.collectors.poll.derive import derive_life
from beanwatch.net.redis_url import Execute
from beanwatch.queues.beanstalkd.actions import find_still_buried
from beanwatch.queues.beanstalkd.connection import Link
from beanwatch.queues.beanstalkd.stats import Stats, read_server, read_tube_names, read_tubes
from beanwatch.queues.selection import INTERNAL, Selection
from beanwatch.queues.servers import Server
from beanwatch.store.ledger import BuriedJob, find_buried

OWN = "beanwatch."


class Target(NamedTuple):
    """One queue on one server; `life` is the server's `id`, under which the ledger knows it."""

    server: Server
    life: str
    queue: str
    stats: Stats


class Step(NamedTuple):
    """One thing to do: to `jobs` jobs in a state, or to those of `ids`, or a pause of `seconds`."""

    target: Target
    jobs: int
    state: str
    ids: tuple[int, ...] | None = None
    seconds: int | None = None


class Choice(NamedTuple):
    """Which buried jobs are meant, by what the worker noted when it buried them."""

    job: str | None = None
    reason: str | None = None
    older_than: float | None = None

    @property
    def is_made(self) -> bool:
        """True if there is anything to choose by."""
        return self != Choice()

    def fits(self, buried: BuriedJob, now: float) -> bool:
        """True if this job is meant."""
        return (
            (self.job is None or fnmatchcase(buried.job, self.job))
            and (self.reason is None or fnmatch(buried.reason.lower(), self.reason.lower()))
            and (self.older_than is None or now - buried.buried_at > self.older_than)
        )


def find_targets(servers: Iterable[Server], glob: str, timeout: float) -> list[Target]:
    """Every queue that the glob matches. Raises ServerError: half of a plan is none.

    Beanwatch's own queues are meant only by a glob that begins as they do.
    """
    selection = Selection((glob,), internal=() if glob.startswith(OWN) else INTERNAL)
    targets = []
    for server in servers:
        with Link(server.address, timeout) as link:
            life = derive_life(read_server(link))
            names = [name for name in read_tube_names(link) if selection.is_wanted(name)]
            found = read_tubes(link, names)
            targets += [Target(server, life, name, stats) for name, stats in found]
    return targets


def plan_states(
    targets: Iterable[Target], states: Iterable[str], count: int | None = None
) -> list[Step]:
    """All jobs in these states, or `count` of each."""
    steps = []
    for target in targets:
        for state in states:
            there = int(target.stats.get(f"current-jobs-{state}", 0))
            if there and count != 0:
                steps.append(Step(target, min(there, count or there), state))
    return steps


def plan_by_ledger(
    execute: Execute,
    targets: Sequence[Target],
    choice: Choice,
    now: float,
    count: int | None,
    timeout: float,
) -> list[Step]:
    """The buried jobs that fit and are still there. Raises ServerError and RedisError."""
    steps = []
    for target in targets:
        buried = find_buried(execute, target.life, target.queue)
        fitting = [entry.job_id for entry in buried if choice.fits(entry, now)]
        if not fitting:
            continue
        with Link(target.server.address, timeout) as link:
            still = find_still_buried(link, target.queue, fitting)[:count]
        if still:
            steps.append(Step(target, len(still), "buried", ids=tuple(still)))
    return steps
