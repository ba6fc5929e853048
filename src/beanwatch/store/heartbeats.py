"""The workers' heartbeats in Redis: their keys, their record, and how they are read."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from beanwatch.net.redis_url import Execute
from beanwatch.store.records import RecordError, decode_record

# A sorted set: the ids of the workers, by the time of their last heartbeat (Redis's clock).
WORKERS_KEY = "beanwatch:workers"
# A number. Every worker restarts when it is raised.
VERSION_KEY = "beanwatch:version"
RECORD_EXPIRY = 3600  # seconds for which a dead worker's record stays, unless it is expected


def worker_key(worker: str) -> str:
    """The key of one worker's record."""
    return f"beanwatch:worker:{worker}"


class Heartbeat(NamedTuple):
    """A worker's record. Times are seconds since the epoch, by the worker's clock."""

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
    job_cpu: float = 0.0  # seconds of processor time that the job has used
    deadline: float = 0.0
    hard_deadline: float = 0.0
    loop_at: float = 0.0  # moved by the main thread only
    beat_at: float = 0.0
    processed: int = 0
    failed: int = 0
    errors: int = 0  # exceptions in the worker's sinks, hooks, ticks and closes since its start
    rss: int = 0  # bytes
    disk_free: int = 0  # bytes
    interval: float = 1.0
    reserve_timeout: float = 0.0
    version: str = ""
    restarts: int = 0
    last_exit: str = ""  # how the instance before it ended; empty if it was told to
    last_words: str = ""  # why this instance ended itself; empty while it runs
    is_over: bool = False  # it ended as it was told to, and the next one is to come


class Worker(NamedTuple):
    """A worker as seen from outside: its id, its last record, and that record's age in seconds.

    `age` is by Redis's clock. `heartbeat` is None when there is no record, or when it was rejected:
    then `problem` names the field and the reason.
    """

    id: str
    age: float
    heartbeat: Heartbeat | None
    problem: str = ""


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """The record as it is stored: a JSON object."""
    return json.dumps(heartbeat._asdict(), separators=(",", ":")).encode()


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Read a record. Raises RecordError."""
    return decode_record(body, Heartbeat)


def make_worker(worker: str, age: float, body: bytes | None) -> Worker:
    """A worker with this record. `body` is None if there is none."""
    if body is None:
        return Worker(worker, age, None)
    try:
        return Worker(worker, age, decode_heartbeat(body))
    except RecordError as error:
        return Worker(worker, age, None, str(error))


def read_workers(execute: Execute, only: Iterable[str] | None = None) -> list[Worker]:
    """All workers by id, or those of `only` that there are, in two round trips.

    Raises RedisError.
    """
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
        make_worker(worker, max(0.0, now - score), record)
        for (worker, score), record in zip(seen, records, strict=True)
    ]
