"""Decides from a heartbeat whether a worker is alive and gets on with its work."""

from beanwatch.store.heartbeats import Heartbeat, Worker

DEAD_AFTER = 10.0  # seconds without a heartbeat, or three intervals if that is more
BACK_WITHIN = 60.0  # seconds for the next instance of a worker that ended as it was told to
LOOP_MARGIN = 10.0  # seconds over the reserve timeout before an idle loop counts as hung
RESTARTED_WITHIN = 600.0  # seconds for which an unclean restart is worth a warning

# What `decide_health` returns. Its index is its number in Graphite: worst last, so that the
# maximum over several workers is the worst of them.
HEALTH = ("idle", "busy", "starting", "stopping", "waiting", "blocked", "hung", "dead")
HEALTH_CODES = {health: code for code, health in enumerate(HEALTH)}


def decide_health(worker: Worker) -> str:
    """Return one word of HEALTH: `dead`, `hung`, or the worker's own state.

    dead: no heartbeat for three intervals or 10 s, or for a minute if the worker ended as it was
    told to and its next instance is to come.
    hung: in a job, its deadline has passed; outside a job, the main loop has not moved for the
    reserve timeout and 10 s.
    A state that is not in HEALTH, which a newer worker may have, counts as busy or idle.
    """
    heartbeat = worker.heartbeat
    interval = heartbeat.interval if heartbeat else 1.0
    if heartbeat is not None and heartbeat.is_over:
        return "stopping" if worker.age < BACK_WITHIN else "dead"
    if heartbeat is None or worker.age > max(3 * interval, DEAD_AFTER):
        return "dead"
    is_known = heartbeat.state in HEALTH
    state = heartbeat.state if is_known else "busy" if heartbeat.job_started_at else "idle"
    if heartbeat.job_started_at:
        return "hung" if 0 < heartbeat.deadline < heartbeat.beat_at else state
    loop_stands = heartbeat.beat_at - heartbeat.loop_at
    return "hung" if loop_stands > heartbeat.reserve_timeout + LOOP_MARGIN else state


def decide_restarted(heartbeat: Heartbeat, within: float = RESTARTED_WITHIN) -> bool:
    """True for `within` seconds after a restart that nobody asked for."""
    age = heartbeat.beat_at - heartbeat.started_at
    return bool(heartbeat.last_exit) and age < within
