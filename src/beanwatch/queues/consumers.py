"""Decide the state of a queue's consumers, for the series and for check_queue_consumers."""

from beanwatch.light_typing import NamedTuple
from beanwatch.queues.model import QueueState, ServerState

# The index of a state is its value in Graphite. The worst state is last, so that a maximum over
# time is the worst state. The last three are problems; an operator sets paused and draining.
STATES = ("ok", "paused", "draining", "saturated", "stalled", "no_consumer")
CODES = {state: code for code, state in enumerate(STATES)}


class Consumers(NamedTuple):
    """The counts of a queue's jobs and consumers at one moment. None: not known."""

    ready: int | None
    held: int | None  # jobs that its consumers may hold, including those of other queues
    idle: int | None  # consumers that wait for a job; 1 if at least one has room for a job
    consumers: int | None
    paused: bool = False
    draining: bool = False  # the server refuses new jobs
    deletes: int | None = None  # counter
    is_dead_letter: bool = False  # nobody is expected to consume the queue

    @classmethod
    def of(cls, queue: QueueState, server: ServerState | None) -> "Consumers":
        """Make the counts from one reading of a queue and of its server (None: it was not read)."""
        return cls(
            queue.ready,
            queue.held,
            _idle(queue),
            queue.consumers,
            bool(queue.paused),
            bool(server and server.draining),
            queue.deletes,
            queue.is_dead_letter,
        )


def _idle(queue: QueueState) -> int | None:
    if queue.idle_consumers is None and queue.has_room is not None:
        return int(queue.has_room)
    return queue.idle_consumers


def decide_consumers(now: Consumers, before: Consumers | None = None) -> str | None:
    """Return the state of a queue's consumers, from STATES; None if a needed count is unknown.

    no_consumer: jobs are ready, and no consumer is connected.
    stalled: jobs are ready and consumers are connected, but none waits for a job or holds one.
    saturated: all consumers are busy, and fewer jobs were deleted than were ready before.

    A consumer between two jobs looks stalled for an instant, and a busy one looks saturated. So
    if `before`, an earlier sample of the same queue, is given, both samples must agree on stalled
    or saturated. Then the result is also None if `before` lacks a needed count.
    """
    if now.ready is None:
        return None
    if now.ready == 0 or now.is_dead_letter:
        return "ok"
    if now.paused:
        return "paused"
    if now.draining:
        return "draining"
    if now.consumers == 0:
        return "no_consumer"
    if now.idle is None or now.consumers is None or now.held is None:
        return None
    if now.idle > 0:
        return "ok"
    if before is None:
        return "saturated" if now.held else "stalled"
    return _decide_over_time(now, before)


def _decide_over_time(now: Consumers, before: Consumers) -> str | None:
    was_ready, is_ready = before.ready, now.ready or 0
    if was_ready == 0 or before.idle or (was_ready is not None and is_ready < was_ready):
        return "ok"
    if was_ready is None or before.idle is None or before.held is None:
        return None
    deleted = 0
    if now.deletes is not None and before.deletes is not None:
        deleted = now.deletes - before.deletes
    if deleted >= was_ready:  # the queue was emptied, and filled again
        return "ok"
    return "saturated" if now.held or before.held or deleted else "stalled"
