"""Finds the previous instance of a worker in Redis: is it alive, how did it end, what did it count.

The next instance hands on what the check must still tell, and the counts.
"""

import os
import socket
import time
from collections.abc import Callable

from beanwatch import __version__
from beanwatch.net.processes import identify_process
from beanwatch.store.heartbeats import DEAD_AFTER, NO_HEARTBEAT, Heartbeat
from beanwatch.worker.monitor.heartbeat.heartbeat_reporter import describe_rival
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import HeartbeatWriter

CRASH_KEPT = 3600.0  # seconds for which instances hand on a crash; the check tells it for less
LIVENESS_READS = 20  # reads of the other instance's heartbeat, within two intervals


class IdInUseError(Exception):
    """Raised if a living process has this worker's id. The text says where, and what to do."""


def identify(inherited: Heartbeat, host: str, name: str, instance: str, now: float) -> Heartbeat:
    """Return a record with who this process is. `now` is in seconds since the epoch."""
    return inherited._replace(
        instance=instance,
        host=host,
        name=name,
        hostname=socket.gethostname(),
        pid=os.getpid(),
        process=identify_process(os.getpid()),
        started_at=now,
        version=__version__,
    )


def find_previous(
    writer: HeartbeatWriter,
    worker: str,
    instance: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Heartbeat | None:
    """Return the last heartbeat of the previous instance with this id; None if there is none.

    Raises IdInUseError if that instance is alive: its `beat_at` advances within two of its
    heartbeat intervals. Raises RedisError.
    """
    previous, age = writer.read()
    if previous is None or previous.is_over or previous.failed_starts or previous.last_words:
        return previous  # it has said that it ended
    if age > max(3 * previous.interval, DEAD_AFTER):
        return previous
    for _ in range(LIVENESS_READS):
        sleep(2 * previous.interval / LIVENESS_READS)
        now, _ = writer.read()
        if now is None:
            return None  # the other instance stopped on request, and removed its heartbeat
        if now.instance != instance and now.beat_at != previous.beat_at:
            raise IdInUseError(
                f"worker {worker} runs already, on {describe_rival(now, socket.gethostname())}"
            )
    return previous


def inherit(previous: Heartbeat, crash: str, now: float) -> Heartbeat:
    """Return a record with only the fields that a new instance takes over from the previous one.

    `crash` says how the previous instance ended; "" if it stopped on request. A stop on request
    does not hide an earlier crash: that is told until CRASH_KEPT seconds have passed. `now` is in
    seconds since the epoch.
    """
    if previous.failed_starts and previous.last_exit:
        crash = ""  # tell the crash from before the failed starts
    kept = NO_HEARTBEAT._replace(
        recycles=previous.recycles,
        recycled_at=previous.recycled_at,
        recycled_why=previous.recycled_why,
        totals=previous.totals,
        totals_of="" if previous.totals is None else previous.totals_of or previous.instance,
    )
    if crash:
        return kept._replace(restarts=previous.restarts + 1, last_exit=crash, crashed_at=now)
    crashed_at = previous.crashed_at or previous.started_at
    if not previous.last_exit or now - crashed_at > CRASH_KEPT:
        return kept
    return kept._replace(
        restarts=previous.restarts, last_exit=previous.last_exit, crashed_at=crashed_at
    )


def describe_end(previous: Heartbeat, cause: str = "killed", job: str | None = None) -> str:
    """Return how the previous instance ended, which nobody asked to: `killed while idle`.

    `job` names the job that it ran at its end, "" if it ran none. None: only its last record is
    known, which may be older than that job: `killed, last seen idle`.
    """
    running = describe_jobs(previous) if job is None else job
    idle = "idle" if previous.state == "busy" else previous.state
    doing = f"running {running}" if running else idle
    if not doing:
        return cause
    return f"{cause}, last seen {doing}" if job is None else f"{cause} while {doing}"


def describe_jobs(heartbeat: Heartbeat) -> str:
    """Return the jobs that a process runs: `email.send (job 7) and 2 more`; "" if none."""
    job = heartbeat.job
    if job is None:
        return ""
    more = len(heartbeat.jobs) - 1
    return f"{job.name or 'a job'} (job {job.id}){f' and {more} more' if more else ''}"
