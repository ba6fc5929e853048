"""Judges all workers together: whether all may have written, and whose death nobody need tell."""

from collections.abc import Callable, Mapping, Sequence

from beanwatch.light_typing import NamedTuple
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import RECORD_EXPIRY, Worker
from beanwatch.store.stops import Stop

# Seconds after a start of Redis: then all that are alive have written again. It is longer, up to
# MAX_SETTLED_AFTER, for workers with a long interval between two heartbeats.
SETTLED_AFTER = 10.0
MAX_SETTLED_AFTER = 120.0


class Fleet(NamedTuple):
    """The heartbeats of all workers, and the stops of workers that somebody ordered.

    `workers` has those, too, that have stopped but still tell of a crash. `redis_age` is the time
    since Redis was started, in seconds; None if that is not known.
    """

    workers: Sequence[Worker] = ()
    stops: Sequence[Stop] = ()
    redis_age: float | None = None


def is_unsettled(fleet: Fleet, expected: int) -> bool:
    """Return True if workers that are alive may not have written since Redis is back.

    This is true if no worker has sent a heartbeat lately. It is also true if Redis was just
    started, and fewer workers have sent one than are known, or than `expected`, or if it knows no
    worker. A worker whose record says that it has ended need not send any.
    """
    running = [worker for worker in fleet.workers if not (worker.has_left or has_ended(worker))]
    alive = sum(not worker.is_late for worker in running)
    if is_new(fleet):
        return alive < max(len(running), expected) or not fleet.workers
    return bool(running) and not alive


def is_new(fleet: Fleet) -> bool:
    """Return True if Redis was just started: not all workers that are alive may have written."""
    if fleet.redis_age is None:
        return False
    intervals = (one.heartbeat.interval for one in fleet.workers if one.heartbeat)
    settled_after = max(SETTLED_AFTER, 2 * max(intervals, default=0.0))
    return fleet.redis_age < min(settled_after, MAX_SETTLED_AFTER)


def has_ended(worker: Worker) -> bool:
    """Return True if the worker's last record says that its process has ended or is about to."""
    beat = worker.heartbeat
    return beat is not None and (beat.is_over or bool(beat.last_words))


def is_child(worker: Worker) -> bool:
    """Return True for a process that another worker has forked: it is no worker to count."""
    return worker.heartbeat is not None and bool(worker.heartbeat.child_of)


def is_running(worker: Worker | None) -> bool:
    """Return True if the record of a worker does not show that it has ended."""
    return worker is not None and worker.heartbeat is not None and not worker.heartbeat.is_over


def is_of_interest(
    worker: Worker,
    found: Mapping[str, Worker],
    is_expected: Callable[[str], bool],
    is_in_a_group: Callable[[str], bool],
) -> bool:
    """Return False for a worker of which nobody need be told. `found` has all workers by their ids.

    These are: one whose record has expired; a dead one of a group, as only the number of the others
    matters, and a new one has another id; a dead child whose parent is dead or has ended, too. The
    functions tell, by its id, whether the configuration expects a worker or has a group for it.
    """
    is_named = is_expected(worker.id)
    if worker.heartbeat is None and worker.age >= RECORD_EXPIRY and not is_named:
        return False
    if decide_health(worker) != "dead":
        return True
    if is_child(worker):
        parent = found.get(worker.heartbeat.child_of if worker.heartbeat else "")
        return parent is not None and is_running(parent) and decide_health(parent) != "dead"
    return is_named or not is_in_a_group(worker.id)
