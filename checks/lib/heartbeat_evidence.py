"""Explains the state of a queue's consumers with the heartbeats of its workers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from beanwatch.store.heartbeats import Worker


class WorkersByHealth(NamedTuple):
    """The ids of a queue's workers by what their heartbeats say; `blocked` by the reason."""

    dead: list[str]
    waiting: list[str]
    blocked: dict[str, list[str]]
    others: list[str]  # these should be connected


def group_by_health(workers: "Iterable[Worker]") -> WorkersByHealth:
    """Sort the workers. One that has ended is left out, since it is not connected."""
    from beanwatch.store.health import decide_health  # only for those with a Redis

    groups = WorkersByHealth([], [], {}, [])
    for worker in workers:
        if worker.heartbeat and (worker.heartbeat.is_over or worker.heartbeat.last_words):
            continue
        match decide_health(worker):
            case "dead":
                groups.dead.append(worker.id)
            case "waiting":
                groups.waiting.append(worker.id)
            case "blocked":
                reason = (worker.heartbeat and worker.heartbeat.reason) or "no reason given"
                groups.blocked.setdefault(reason, []).append(worker.id)
            case _:
                groups.others.append(worker.id)
    return groups


def name_some(number: int, ids: Sequence[str]) -> str:
    """`a, b`; or `1 of a, b` where only the number is known, and not which."""
    names = ", ".join(ids)
    return names if number >= len(ids) else f"{number} of {names}"


def explain_with_heartbeats(
    groups: WorkersByHealth, consumers: int, verdict: str | None
) -> Iterator[str]:
    """Reasons, of which none repeats the verdict. `consumers` is the number of those connected.

    A worker that waits or is blocked has closed its connection.
    """
    not_connected = len(groups.others) - consumers
    without_heartbeat = consumers - len(groups.others)
    if not_connected > 0:
        verb = "beats but is" if not_connected == 1 else "beat but are"
        yield f"{name_some(not_connected, groups.others)} {verb} not connected here"
    if groups.dead and verdict != "frozen":
        if without_heartbeat > 0:
            names = name_some(without_heartbeat, groups.dead)
            yield f"connected but without a heartbeat: {names}"
        else:
            yield f"dead: {', '.join(groups.dead)}"
    if groups.waiting:
        yield f"told to wait: {', '.join(groups.waiting)} (beanwatch workers resume)"
    for reason, ids in groups.blocked.items():
        yield f"blocked: {', '.join(ids)} ({reason})"
    if consumers and not any(groups):
        yield "none of them sends a heartbeat"
