"""Decides from a worker's heartbeat whether the worker is alive and makes progress."""

from beanwatch.store.heartbeats import DEAD_AFTER as DEAD_AFTER
from beanwatch.store.heartbeats import Heartbeat, Worker

NEXT_INSTANCE_WITHIN = 60.0  # seconds in which a worker must start again after a requested exit
LOOP_MARGIN = 10.0  # seconds added to the reserve timeout before an idle main loop counts as hung
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
    request and must start again, it is dead after 60 s.
    hung: during a job, the job's deadline has passed. Without a job, the main loop has not run for
    the reserve timeout plus 10 s. A record without these times is not judged by them.
    A state that is not in HEALTH, from a newer worker, counts as busy or idle.
    """
    heartbeat = worker.heartbeat
    if heartbeat is not None and heartbeat.is_over and worker.age < NEXT_INSTANCE_WITHIN:
        return "stopping"
    if worker.is_late or (heartbeat is not None and heartbeat.is_over):
        return UNKNOWN if worker.doubt else "dead"
    if heartbeat is None:
        return UNKNOWN if worker.problem else "dead"
    is_known = heartbeat.state in HEALTH
    has_job = bool(heartbeat.job_started_at or heartbeat.job)
    state = heartbeat.state if is_known else "busy" if has_job else "idle"
    if has_job:
        return "hung" if 0 < heartbeat.deadline < heartbeat.beat_at else state
    loop_age = heartbeat.beat_at - heartbeat.loop_at if heartbeat.loop_at else 0.0
    return "hung" if loop_age > heartbeat.reserve_timeout + LOOP_MARGIN else state


def rank_health(health: str) -> int:
    """Return how bad a result of `decide_health` is: the larger, the worse."""
    return HEALTH_CODES.get("blocked" if health == UNKNOWN else health, 0)


def decide_restarted(heartbeat: Heartbeat, within: float = RESTARTED_WITHIN) -> bool:
    """Return True for `within` seconds after a start that followed a crash or failure."""
    age = heartbeat.beat_at - heartbeat.started_at
    return bool(heartbeat.last_exit) and 0 <= age < within
