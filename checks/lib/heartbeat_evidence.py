"""Who of a queue's workers should be taking its jobs, by their heartbeats, and who does not."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from beanwatch.store.heartbeats import Worker


class Roll(NamedTuple):
    """The ids of a queue's workers by what their heartbeats say; `blocked` by the reason."""

    dead: list[str]
    waiting: list[str]
    blocked: dict[str, list[str]]
    others: list[str]  # those that should be connected


def call_roll(workers: "Iterable[Worker]") -> Roll:
    """Sort the workers."""
    from beanwatch.store.health import decide_health  # only for those with a Redis

    roll = Roll([], [], {}, [])
    for worker in workers:
        if worker.heartbeat and (worker.heartbeat.is_over or worker.heartbeat.last_words):
            continue  # it has ended, and is not connected
        match decide_health(worker):
            case "dead":
                roll.dead.append(worker.id)
            case "waiting":
                roll.waiting.append(worker.id)
            case "blocked":
                reason = (worker.heartbeat and worker.heartbeat.reason) or "no reason given"
                roll.blocked.setdefault(reason, []).append(worker.id)
            case _:
                roll.others.append(worker.id)
    return roll


def some(number: int, ids: Sequence[str]) -> str:
    """`a, b`, or `1 of a, b` where it cannot be known which."""
    names = ", ".join(ids)
    return names if number >= len(ids) else f"{number} of {names}"


def cross(roll: Roll, watching: int, verdict: str) -> Iterator[str]:
    """What the heartbeats add to that. Who waits or is blocked has let go of its connection."""
    missing = len(roll.others) - watching
    silent = watching - len(roll.others)
    if missing > 0:
        verb = "beats but is" if missing == 1 else "beat but are"
        yield f"{some(missing, roll.others)} {verb} not connected here"
    if roll.dead and verdict != "frozen":
        if silent > 0:
            yield f"connected but without a heartbeat: {some(silent, roll.dead)}"
        else:
            yield f"dead: {', '.join(roll.dead)}"
    if roll.waiting:
        yield f"told to wait: {', '.join(roll.waiting)} (beanwatch workers resume)"
    for reason, ids in roll.blocked.items():
        yield f"blocked: {', '.join(ids)} ({reason})"
    if watching and not any(roll):
        yield "none of them sends a heartbeat"
