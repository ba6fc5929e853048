"""Who drains a queue: one decision, for the series and for check_queue_consumers."""

from typing import NamedTuple

from beanwatch.queues.beanstalkd.stats import Stats, count_of

# As numbers in Graphite, worst last, so that a maximum over time or queues is the worst.
# Only the last three are a matter for anybody: paused and draining are somebody's wish.
STATES = ("ok", "paused", "draining", "saturated", "stalled", "no_watcher")
CODES = {state: code for code, state in enumerate(STATES)}


class Consumers(NamedTuple):
    """What is known of a queue's jobs and of the connections that watch it.

    `held` is by `count_held`. `draining` is the server's. `pause_left` is in seconds. One's own
    connection is already taken off `watching`.
    """

    ready: int
    held: int
    waiting: int
    watching: int
    pause_left: int = 0
    draining: bool = False
    deletes: int = 0


def count_held(queue: Stats, server: Stats) -> int:
    """The jobs that the consumers of a queue may hold, or 0 if one of them surely holds none.

    A worker that watches several queues may be busy with a job of another: all of them may be,
    if as many jobs are held there as workers watch here. Not so with `default`, which every
    connection watches until it says otherwise.
    """
    reserved = count_of(queue, "current-jobs-reserved")
    elsewhere = count_of(server, "current-jobs-reserved") - reserved
    may_be_busy = (
        elsewhere >= count_of(queue, "current-watching") and queue.get("name") != "default"
    )
    return reserved or (elsewhere if may_be_busy else 0)


def decide_consumers(now: Consumers, before: Consumers | None = None) -> str:
    """One word of STATES.

    no_watcher: jobs are ready and no connection watches the queue.
    stalled: it is watched, but nobody waits for a job and nobody holds one.
    saturated: every consumer is at work, and they do not keep up: the queue does not get shorter,
    nor were as many jobs deleted since as it held before, as of one that was emptied and filled.
    A worker between two jobs looks stalled for an instant, and a busy one saturated.
    With `before`, an earlier sample of the same queue, both must last for both samples;
    without it the instant decides.
    """
    if now.ready == 0:
        return "ok"
    if now.pause_left > 0:
        return "paused"
    if now.draining:
        return "draining"
    if now.watching == 0:
        return "no_watcher"
    if now.waiting > 0:
        return "ok"
    if before is None:
        return "saturated" if now.held else "stalled"
    if before.ready == 0 or before.waiting > 0 or now.ready < before.ready:
        return "ok"
    if now.deletes - before.deletes >= before.ready:
        return "ok"
    if now.held or before.held or now.deletes != before.deletes:
        return "saturated"
    return "stalled"
