"""Decides from a worker's heartbeat whether the worker is alive and makes progress."""

from beanwatch.store.heartbeats import DEAD_AFTER as DEAD_AFTER
from beanwatch.store.heartbeats import Heartbeat, JobRecord, Worker

NEXT_INSTANCE_WITHIN = 60.0  # seconds in which a worker must start again after a requested exit
LOOP_MARGIN = 10.0  # seconds added to the reserve timeout before an idle main loop counts as hung
RECYCLES_WITHIN = 600.0  # seconds in which recycles are counted
MAX_RECYCLES = 5  # recycles of one worker within that time; more are a warning
RESTARTED_WITHIN = 600.0  # seconds for which an unexpected restart is a warning

# The results of `decide_health`, the worst last. The index is the value in Graphite, so the maximum
# over several workers is their worst health.
HEALTH = ("idle", "busy", "starting", "stopping", "waiting", "blocked", "hung", "dead")
HEALTH_CODES = {health: code for code, health in enumerate(HEALTH)}
# The result if nobody can know whether the worker is alive. It has no value in Graphite.
UNKNOWN = "unknown"


def decide_health(worker: Worker) -> str:
    """Return one of HEALTH: `dead`, `hung`, or the state in the worker's heartbeat; or UNKNOWN.

    unknown: the worker would be dead, but Redis takes no writes, so no heartbeat can arrive. Or the
    worker sends heartbeats, but its record cannot be read.
    dead: no heartbeat for 10 s or three intervals, whichever is longer. If the worker has exited on
    request and must start again, it is dead after its shutdown timeout, but after 10 to 60 s.
    If its last start failed, it is dead at once.
    hung: the deadline of a job has passed. Without a job, the main loop has not moved for
    `max_idle`; in a worker whose loop moves during jobs, also with one. While stopping, the
    shutdown timeout has passed by 10 s. A record without these times is not judged by them.
    A state that is not in HEALTH, from a newer worker, counts as busy or idle.
    """
    heartbeat = worker.heartbeat
    if heartbeat is not None and heartbeat.is_over:
        limit = heartbeat.shutdown_timeout or NEXT_INSTANCE_WITHIN
        if worker.age < min(NEXT_INSTANCE_WITHIN, max(DEAD_AFTER, limit)):
            return "stopping"
    if worker.is_late or (heartbeat is not None and heartbeat.is_over):
        return UNKNOWN if worker.doubt else "dead"
    if heartbeat is None:
        return UNKNOWN if worker.problem else "dead"
    if heartbeat.failed_starts:
        return "dead"
    if is_stop_late(heartbeat):
        return "hung"
    is_known = heartbeat.state in HEALTH
    state = heartbeat.state if is_known else "busy" if heartbeat.jobs else "idle"
    if any(is_late(job, heartbeat) for job in heartbeat.jobs):
        return "hung"
    return "hung" if is_loop_stuck(heartbeat) else state


def rank_health(health: str) -> int:
    """Return how bad a result of `decide_health` is: the larger, the worse."""
    return HEALTH_CODES.get("blocked" if health == UNKNOWN else health, 0)


def is_late(job: JobRecord, heartbeat: Heartbeat) -> bool:
    """Return True if a job of this record has passed its deadline."""
    return 0 < job.deadline < heartbeat.beat_at


def is_loop_stuck(heartbeat: Heartbeat) -> bool:
    """Return True if the main loop stands still, though it could move."""
    if heartbeat.jobs and not heartbeat.has_own_loop:
        return False  # the loop runs the job
    return 0 < heartbeat.max_idle < heartbeat.beat_at - heartbeat.loop_at


def is_stop_late(heartbeat: Heartbeat) -> bool:
    """Return True if a worker that was told to stop runs on after its shutdown timeout."""
    deadline = heartbeat.shutdown_deadline
    return bool(deadline) and deadline + LOOP_MARGIN < heartbeat.beat_at


def crash_age(worker: Worker) -> float | None:
    """Return how long ago (seconds) the worker was started after a crash or failure; None: never.

    A planned restart since then changes nothing: the record tells the crash on.
    """
    beat = worker.heartbeat
    if beat is None or not beat.last_exit:
        return None
    # Records of version 0.1 have no `crashed_at`, and no crash from before the last start.
    return worker.age + beat.beat_at - (beat.crashed_at or beat.started_at)


def decide_restarted(worker: Worker, within: float = RESTARTED_WITHIN) -> bool:
    """Return True for `within` seconds after a start that followed a crash or failure."""
    age = crash_age(worker)
    return age is not None and 0 <= age < within


def count_recycles(worker: Worker, within: float = RECYCLES_WITHIN) -> int:
    """Return how often the worker reached a limit (--max-...) in the last `within` seconds."""
    beat = worker.heartbeat
    if beat is None:
        return 0
    now = beat.beat_at + worker.age
    return sum(now - at < within for at in beat.recycled_at)
