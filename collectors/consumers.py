"""Who drains a tube: one decision, shared by the collector's series and by check_tube_consumers."""

from typing import NamedTuple

# As numbers in Graphite, worst last, so that a maximum over time or tubes is the worst.
# Only the last three are a matter for anybody: paused and draining are somebody's wish.
STATES = ("ok", "paused", "draining", "saturated", "stalled", "no_watcher")
CODES = {state: code for code, state in enumerate(STATES)}


class Consumers(NamedTuple):
    """What `stats-tube` says of a tube's jobs and of the connections that watch it.

    `draining` is the server's. `pause_left` is in seconds. One's own connection is
    already taken off `watching`.
    """

    ready: int
    reserved: int
    waiting: int
    watching: int
    pause_left: int = 0
    draining: bool = False
    deletes: int = 0


def decide_consumers(now: Consumers, before: Consumers | None = None) -> str:
    """One word of STATES.

    no_watcher: jobs are ready and no connection watches the tube.
    stalled: it is watched, but nobody waits for a job and nobody holds one.
    saturated: every consumer is at work, and the queue does not get shorter.
    A worker between two jobs looks stalled for an instant, and a busy one saturated.
    With `before`, an earlier sample of the same tube, both must last for both samples;
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
        return "saturated" if now.reserved else "stalled"
    if before.ready == 0 or before.waiting > 0 or now.ready < before.ready:
        return "ok"
    if now.reserved or before.reserved or now.deletes != before.deletes:
        return "saturated"
    return "stalled"
