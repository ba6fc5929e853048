"""The workers' heartbeats in Redis: where they are, what they say, and what that means."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from beanwatch.net.redis_url import Execute

WORKERS_KEY = "beanwatch:workers"
VERSION_KEY = "beanwatch:version"


def worker_key(worker: str) -> str:
    """The key of one worker's record."""
    return f"beanwatch:worker:{worker}"


def outcomes_key(minute: int) -> str:
    """The key of the outcomes counted in one minute (seconds since the epoch // 60)."""
    return f"beanwatch:outcomes:{minute}"


class Beat(NamedTuple):
    """What a worker says of itself. Times are seconds since the epoch, by the worker's clock."""

    instance: str = ""
    host: str = ""
    pid: int = 0
    name: str = ""
    server: str = ""
    queues: tuple[str, ...] = ()
    state: str = "starting"  # starting idle busy waiting blocked stopping
    reason: str = ""  # why it is blocked, waiting or stopping
    job: str = ""
    job_id: int = 0
    job_uuid: str = ""
    queue: str = ""
    where: str = ""  # the top frame of the handler
    note: str = ""
    progress: tuple[int, ...] = ()  # (n, total)
    app_version: str = ""
    started_at: float = 0.0
    job_started_at: float = 0.0
    job_cpu: float = 0.0  # seconds of processor time that the job has used: a loop, or a wait
    deadline: float = 0.0
    hard_deadline: float = 0.0
    loop_at: float = 0.0  # moved by the main thread only
    beat_at: float = 0.0
    processed: int = 0
    failed: int = 0
    rss: int = 0  # bytes
    disk_free: int = 0  # bytes
    interval: float = 1.0
    reserve_timeout: float = 0.0
    version: str = ""
    restarts: int = 0
    last_exit: str = ""  # how the instance before ended, empty if it was told to
    last_words: str = ""  # why this instance ended itself; empty while it lives
    is_over: bool = False  # it ended as it was told to, and the next is to come


class Worker(NamedTuple):
    """A worker as seen from outside: its id, its last record, and that record's age in seconds.

    `age` is by Redis's clock. `beat` is None when the record is gone or unreadable.
    """

    id: str
    age: float
    beat: Beat | None


DEAD_AFTER = 10.0  # seconds, or three intervals if that is more
BACK_WITHIN = 60.0  # seconds for the next instance of a worker that ended as it was told to
LOOP_MARGIN = 10.0  # seconds over the reserve timeout before an idle loop counts as hung
RESTARTED_WITHIN = 600.0  # seconds for which an unclean restart is worth a warning

# What decide_health says, as numbers in Graphite; worst last, so that a maximum is the worst.
HEALTH = ("idle", "busy", "starting", "stopping", "waiting", "blocked", "hung", "dead")
HEALTH_CODES = {health: code for code, health in enumerate(HEALTH)}


def parse_beat(body: bytes | None) -> Beat | None:
    """Read a record. Unknown fields (a newer worker's) are left out; nonsense gives None."""
    try:
        record = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    try:
        known = {key: _read(key, record[key]) for key in Beat._fields if key in record}
    except TypeError:
        return None
    return Beat(**known)


_KINDS = {key: type(default) for key, default in Beat._field_defaults.items()}
_MEMBERS = {"queues": str, "progress": int}


def _read(key: str, value: Any) -> Any:
    """The value of a field. Raises TypeError for one of another kind, or no finite number."""
    kind = _KINDS[key]
    if type(value) is kind and (kind is str or kind is bool):
        return value
    if kind is tuple and type(value) is list and all(type(v) is _MEMBERS[key] for v in value):
        return tuple(value)
    if kind in (int, float) and type(value) in (kind, int) and -(2**63) < value < 2**63:
        return kind(value)
    raise TypeError(key)


def dump_beat(beat: Beat) -> bytes:
    """The record as it is stored."""
    return json.dumps(beat._asdict(), separators=(",", ":")).encode()


def read_workers(execute: Execute, only: Iterable[str] | None = None) -> list[Worker]:
    """All workers, or those of `only` (missing ones left out), in two round trips, by id."""
    (seconds, micros), scored = execute([("TIME",), ("ZRANGE", WORKERS_KEY, 0, -1, "WITHSCORES")])
    now = int(seconds) + int(micros) / 1e6
    wanted = None if only is None else set(only)
    seen = sorted(
        (member.decode("utf-8", "replace"), float(score))
        for member, score in zip(scored[::2], scored[1::2], strict=True)
    )
    if wanted is not None:
        seen = [(worker, score) for worker, score in seen if worker in wanted]
    if not seen:
        return []
    (records,) = execute([("MGET", *(worker_key(worker) for worker, _ in seen))])
    return [
        Worker(worker, max(0.0, now - score), parse_beat(record))
        for (worker, score), record in zip(seen, records, strict=True)
    ]


def decide_health(worker: Worker) -> str:
    """One word of HEALTH: dead, hung, or the worker's own state.

    dead: no beat for 3 intervals or 10 s, or for a minute if it ended to be started anew. hung:
    out of a job, the main loop has not moved for the reserve timeout and 10 s; in a job, the
    soft deadline has passed. A state that a newer worker has is busy or idle.
    """
    beat = worker.beat
    interval = beat.interval if beat else 1.0
    if beat is not None and beat.is_over:
        return "stopping" if worker.age < BACK_WITHIN else "dead"
    if beat is None or worker.age > max(3 * interval, DEAD_AFTER):
        return "dead"
    state = beat.state if beat.state in HEALTH else "busy" if beat.job_started_at else "idle"
    if beat.job_started_at:
        return "hung" if 0 < beat.deadline < beat.beat_at else state
    stuck = beat.beat_at - beat.loop_at > beat.reserve_timeout + LOOP_MARGIN
    return "hung" if stuck else state


def decide_restarted(beat: Beat, within: float = RESTARTED_WITHIN) -> bool:
    """True for so many seconds after a restart that nobody asked for."""
    return bool(beat.last_exit) and beat.beat_at - beat.started_at < within
