"""Explains the state of a queue's consumers by the heartbeats of its workers."""

from collections.abc import Iterable, Iterator, Sequence

from beanwatch.light_typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from beanwatch.store.heartbeats import Worker


class WorkersByHealth(NamedTuple):
    """The ids of a queue's workers, grouped by the health that their heartbeats show."""

    dead: list[str]  # the heartbeat is too old
    waiting: list[str]  # somebody ran `beanwatch workers wait`
    blocked: dict[str, list[str]]  # by the reason why they take no job
    running: list[str]  # in any other state; these should be connected


def group_by_health(workers: "Iterable[Worker]") -> WorkersByHealth:
    """Group the workers. Leave out those that have ended: they are not connected."""
    from beanwatch.store.health import decide_health  # imported only where Redis is used

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
                groups.running.append(worker.id)
    return groups


def name_some(number: int, ids: Sequence[str]) -> str:
    """Return `a, b`; or `1 of a, b` if it is not known which `number` of them are meant."""
    names = ", ".join(ids)
    return names if number >= len(ids) else f"{number} of {names}"


def explain_with_heartbeats(
    groups: WorkersByHealth, consumers: int, verdict: str | None
) -> Iterator[str]:
    """Yield texts that say why jobs wait. None of them repeats what the verdict says.

    `consumers` is the number of connections that watch the queue. Workers that wait or are blocked
    have closed their connections.
    """
    not_connected = len(groups.running) - consumers
    without_heartbeat = consumers - len(groups.running)
    if not_connected > 0:
        verb = "sends heartbeats but is" if not_connected == 1 else "send heartbeats but are"
        yield f"{name_some(not_connected, groups.running)} {verb} not connected to this server"
    if groups.dead and verdict not in ("frozen", "silent"):
        if without_heartbeat > 0:
            names = name_some(without_heartbeat, groups.dead)
            yield f"connected but without a heartbeat: {names}"
        else:
            yield f"no heartbeat: {', '.join(groups.dead)}"
    if groups.waiting:
        yield f"told to wait: {', '.join(groups.waiting)} (undo: beanwatch workers resume)"
    for reason, ids in groups.blocked.items():
        yield f"blocked: {', '.join(ids)} ({reason})"
    if consumers and not any(groups):
        yield "none of the consumers sends a heartbeat"
