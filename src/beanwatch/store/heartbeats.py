"""The workers' heartbeat records in Redis: keys, fields, encoding and reading."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from beanwatch.net.redis_url import Execute
from beanwatch.store.records import RecordError, decode_record

# A sorted set of worker ids; the score is the time of the last heartbeat by Redis's clock.
WORKERS_KEY = "beanwatch:workers"
# A number. All workers restart when it changes.
VERSION_KEY = "beanwatch:version"
RECORD_EXPIRY = 3600  # seconds after which a record expires, unless the worker is an expected one


def worker_key(worker: str) -> str:
    """Return the key of a worker's record; `worker` is its id, `<host>.<name>`."""
    return f"beanwatch:worker:{worker}"


class Heartbeat(NamedTuple):
    """A worker's record. Times are seconds since the epoch by the worker's clock; 0 means none.

    docs/reference.md explains all fields.
    """

    instance: str = ""
    host: str = ""
    hostname: str = ""  # the whole name of the host; `host` may be its first part
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
    where: str = ""  # the source line that the handler is executing
    note: str = ""  # set by the handler with `ctx.note`
    progress: tuple[int, ...] = ()  # (steps done, total steps)
    app_version: str = ""
    started_at: float = 0.0
    job_started_at: float = 0.0
    job_cpu: float = 0.0  # seconds of CPU time that the job has used
    deadline: float = 0.0  # when JobTimeout is raised in the handler
    hard_deadline: float = 0.0  # when the worker exits if the handler has not ended
    loop_at: float = 0.0  # when the main thread last ran its loop
    beat_at: float = 0.0  # when this record was made
    processed: int = 0
    failed: int = 0
    errors: int = 0  # exceptions in the worker's sinks, hooks, ticks and closes since its start
    rss: int = 0  # bytes
    disk_free: int = 0  # bytes
    interval: float = 1.0  # seconds between two heartbeats
    reserve_timeout: float = 0.0  # seconds
    version: str = ""
    restarts: int = 0
    last_exit: str = ""  # why the previous instance crashed or failed; empty after a requested stop
    last_words: str = ""  # the failure for which this instance has exited; empty while it runs
    is_over: bool = False  # this instance has exited on request; the next one has not started yet


class Worker(NamedTuple):
    """A worker as read from Redis: its id, its last record, and the age of that record.

    `age` is in seconds by Redis's clock. `heartbeat` is None if there is no record, or if the
    record is invalid. In the second case `problem` says why.
    """

    id: str
    age: float
    heartbeat: Heartbeat | None
    problem: str = ""


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Encode a record as the JSON object that is stored in Redis."""
    return json.dumps(heartbeat._asdict(), separators=(",", ":")).encode()


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Decode and validate a stored record. Raises RecordError."""
    return decode_record(body, Heartbeat)


def make_worker(worker: str, age: float, body: bytes | None) -> Worker:
    """Make a Worker from a stored record, which may be invalid; `body` is None if there is none."""
    if body is None:
        return Worker(worker, age, None)
    try:
        return Worker(worker, age, decode_heartbeat(body))
    except RecordError as error:
        return Worker(worker, age, None, str(error))


def read_workers(execute: Execute, only: Iterable[str] | None = None) -> list[Worker]:
    """Read all workers, or those with an id in `only`, sorted by id. Takes two round trips.

    `execute` sends commands to Redis. Raises RedisError.
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
