"""Who drains a queue: one decision, for the series and for check_queue_consumers."""

from typing import NamedTuple

from beanwatch.queues.model import QueueState, ServerState

# As numbers in Graphite, worst last, so that a maximum over time or queues is the worst.
# The last three are problems. Somebody paused or drained it on purpose.
STATES = ("ok", "paused", "draining", "saturated", "stalled", "no_consumer")
CODES = {state: code for code, state in enumerate(STATES)}


class Consumers(NamedTuple):
    """What is known of a queue's jobs and of its consumers at one moment."""

    ready: int | None
    held: int | None  # jobs that its consumers may hold, of other queues too
    idle: int | None
    consumers: int | None
    paused: bool = False
    draining: bool = False  # the server's
    deletes: int | None = None

    @classmethod
    def of(cls, queue: QueueState, server: ServerState | None) -> "Consumers":
        """Those of this queue; `server` is as of the same reading."""
        return cls(
            queue.ready,
            queue.held,
            queue.idle_consumers,
            queue.consumers,
            bool(queue.paused),
            bool(server and server.draining),
            queue.deletes,
        )


def decide_consumers(now: Consumers, before: Consumers | None = None) -> str | None:
    """One word of STATES; None if what is known does not suffice.

    no_consumer: jobs are ready and nobody is connected who could take them.
    stalled: consumers are connected, but none waits for a job and none holds one.
    saturated: all consumers are busy and the queue did not shrink (fewer jobs were deleted than
    were ready before).

    A consumer between two jobs looks stalled for an instant, and a busy one saturated. With
    `before`, an earlier sample of the same queue, both must hold for both samples, and nothing is
    said if that sample does not tell. Without it the instant decides.
    """
    if now.ready is None:
        return None
    if now.ready == 0:
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
    if deleted >= was_ready:  # it was emptied, and filled again
        return "ok"
    return "saturated" if now.held or before.held or deleted else "stalled"
