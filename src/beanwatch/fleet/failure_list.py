"""Choose recorded failed runs by what a person asks for, and group those that are alike."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from beanwatch.globs import fits
from beanwatch.store.failures import Failure

MAX_REASON = 200  # characters of a reason that count when failures are grouped


class FailureChoice(NamedTuple):
    """Conditions on failed runs; an empty one holds for all.

    `job` and `reason` are parts of texts, or globs. `within` is the time since the failure in
    seconds. `id` is that of one failed run, `trace` the hash of a traceback, `server` the name of
    the server that keeps the job, or the address at which a worker reached it. `like` is the id of
    a failed run: it and those in its group (see `group_failures`).
    """

    queue: str = ""
    job: str = ""
    reason: str = ""
    worker: str = ""
    outcome: str = ""
    trace: str = ""
    id: str = ""
    server: str = ""
    like: str = ""
    within: float | None = None

    def matches(self, one: Failure, now: float) -> bool:
        """Return True if a failed run meets all conditions but `like`. `now`: epoch seconds."""
        return (
            self.id in ("", one.id)
            and self.server in ("", one.node, one.address)
            and self.queue in ("", one.queue)
            and self.worker in ("", one.worker)
            and self.outcome in ("", one.outcome)
            and self.trace in ("", one.traceback_hash)
            and (self.within is None or one.failed_at >= now - self.within)
            and fits(one.job, self.job)
            and fits(one.reason, self.reason)
        )

    def choose(self, failures: Iterable[Failure], now: float) -> list[Failure]:
        """Return the failed runs that meet all conditions, in their order."""
        found = [one for one in failures if self.matches(one, now)]
        if not self.like:
            return found
        group = next((_group_of(one) for one in found if one.id == self.like), None)
        return [one for one in found if _group_of(one) == group]


class FailureGroup(NamedTuple):
    """Failed runs of one kind of job in one queue, with the same reason but for its numbers.

    `reason` is that of the newest one, `reason_glob` matches all. `last` is the id of the newest
    run. Times are in seconds since the epoch. `node` is that of `Failure`.
    """

    queue: str
    job: str
    reason: str
    reason_glob: str
    failed: int
    last: str
    last_at: float
    first_at: float
    outcomes: dict[str, int]
    node: str = ""

    def tree(self) -> dict[str, Any]:
        """Return the fields as objects that JSON can hold. None: an unknown time."""
        times = {"last_at": self.last_at or None, "first_at": self.first_at or None}
        return {**self._asdict(), **times}


def group_failures(failures: Iterable[Failure]) -> list[FailureGroup]:
    """Group failed runs, the newest first, by queue, job and reason; the largest group first.

    The failed jobs that a server keeps are groups of their own.
    """
    groups: dict[tuple[str, str, str, str], list[Failure]] = {}
    for one in failures:
        groups.setdefault(_group_of(one), []).append(one)
    found = [_make_group(key[0], runs) for key, runs in groups.items()]
    return sorted(found, key=lambda group: (-group.failed, -group.last_at))


def _group_of(one: Failure) -> tuple[str, str, str, str]:
    return generalize(one.reason), one.node, one.queue, one.job


def _make_group(reason_glob: str, runs: Sequence[Failure]) -> FailureGroup:
    last, outcomes = runs[0], dict.fromkeys((one.outcome for one in runs), 0)
    for one in runs:
        outcomes[one.outcome] += 1
    return FailureGroup(
        last.queue,
        last.job,
        last.reason,
        reason_glob,
        len(runs),
        last.id,
        last.failed_at,
        runs[-1].failed_at,
        outcomes,
        last.node,
    )


@lru_cache(maxsize=10_000)
def generalize(reason: str) -> str:
    """Return a glob that matches a reason with any numbers: they differ from run to run."""
    parts: list[str] = []
    for char in reason[:MAX_REASON]:
        if char.isdigit():
            if parts[-1:] != ["*"]:
                parts.append("*")
        else:
            parts.append(f"[{char}]" if char in "*?[" else char)
    if len(reason) > MAX_REASON and parts[-1:] != ["*"]:
        parts.append("*")
    return "".join(parts)
