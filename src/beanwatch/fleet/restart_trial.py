"""Restart one worker before the others, and wait until its next instance runs."""

import time
from collections.abc import Callable, Sequence

from beanwatch.net.redis_url import Execute
from beanwatch.store.health import NEXT_INSTANCE_WITHIN, decide_health
from beanwatch.store.heartbeats import Heartbeat, Worker, read_workers

POLL_INTERVAL = 0.5  # seconds
RUNS = frozenset(("idle", "busy", "waiting", "blocked"))  # health of an instance that has started


def pick_first(workers: Sequence[Worker]) -> Worker:
    """Return the worker to restart first: an idle one if there is any, since it needs no wait."""
    return min(workers, key=lambda one: RESTART_ORDER.get(decide_health(one), len(RESTART_ORDER)))


RESTART_ORDER = {"idle": 0, "blocked": 1, "busy": 2}


def wait_for_next_instance(
    execute: Execute,
    worker: str,
    before: Heartbeat,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Wait until another instance than `before` runs. Return "", or why none does in time.

    The limit is a minute after the hard deadline of the job that `before` was running. A failed
    start ends the wait at once. Raises RedisError.
    """
    left = max((0.0, *(job.hard_deadline - before.beat_at for job in before.jobs)))
    limit = left + NEXT_INSTANCE_WITHIN
    end = clock() + limit
    while clock() < end:
        for found in read_workers(execute, [worker]):
            beat = found.heartbeat
            if beat is None or beat.instance == before.instance:
                continue
            if beat.failed_starts:
                return f"it cannot start: {beat.last_words}"
            if decide_health(found) in RUNS:
                return ""
        sleep(POLL_INTERVAL)
    return f"no new instance runs after {limit:.0f} s"
