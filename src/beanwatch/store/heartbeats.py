"""The workers' heartbeat records in Redis: keys, fields, encoding and reading."""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from beanwatch.net.redis_url import Execute, RedisError, describe_refusal
from beanwatch.store.records import RecordError, decode_record
from beanwatch.store.redis_state import RedisState, read_state

# A sorted set of worker ids; the score is the time of the last heartbeat by Redis's clock.
WORKERS_KEY = "beanwatch:workers"
# A number. All workers restart when it changes.
VERSION_KEY = "beanwatch:version"
RECORD_EXPIRY = 3600  # seconds after which a record expires, unless the worker is an expected one
DEAD_AFTER = 10.0  # seconds without a heartbeat; or three heartbeat intervals, if that is longer
# Commands that read Redis's clock, and the time of the newest heartbeat of all workers.
NEWEST_HEARTBEAT = (("TIME",), ("ZRANGE", WORKERS_KEY, -1, -1, "WITHSCORES"))


def worker_key(worker: str) -> str:
    """Return the key of a worker's record; `worker` is its id, `<host>.<name>`."""
    return f"beanwatch:worker:{worker}"


class Heartbeat(NamedTuple):
    """A worker's record. Times are seconds since the epoch by the worker's clock; 0 means none.

    docs/reference.md explains all fields.
    """

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
    disk_free: int | None = None  # bytes; None: not known
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

    `doubt` says why nobody can know whether this worker is alive, though its last heartbeat is too
    old: Redis refuses writes. It is empty for a worker that can be judged.
    """

    id: str
    age: float
    heartbeat: Heartbeat | None
    problem: str = ""
    doubt: str = ""

    @property
    def is_late(self) -> bool:
        """True if the last heartbeat is older than 10 s and older than three intervals."""
        interval = self.heartbeat.interval if self.heartbeat else 1.0
        return self.age > max(3 * interval, DEAD_AFTER)


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

    `execute` sends commands to Redis. If a worker seems to be dead, one or two more round trips
    find out whether Redis takes writes; if not, each such worker has a `doubt`. Raises RedisError,
    also if Redis has no worker and takes no writes.
    """
    clock, scored = execute([("TIME",), ("ZRANGE", WORKERS_KEY, 0, -1, "WITHSCORES")])
    now = parse_clock(clock)
    wanted = None if only is None else set(only)
    seen = sorted(
        (member.decode("utf-8", "replace"), float(score))
        for member, score in zip(scored[::2], scored[1::2], strict=True)
    )
    is_fresh = any(now - score < DEAD_AFTER for _, score in seen)
    if not seen and (refusal := read_state(execute).refusal):
        raise RedisError(describe_refusal(refusal), refusal)
    if wanted is not None:
        seen = [(worker, score) for worker, score in seen if worker in wanted]
    if not seen:
        return []
    (records,) = execute([("MGET", *(worker_key(worker) for worker, _ in seen))])
    workers = [
        make_worker(worker, max(0.0, now - score), record)
        for (worker, score), record in zip(seen, records, strict=True)
    ]
    if not any(worker.is_late for worker in workers):
        return workers
    refusal = read_state(execute, is_fresh).refusal
    doubt = describe_refusal(refusal) if refusal else ""
    return [worker._replace(doubt=doubt) if worker.is_late else worker for worker in workers]


def parse_clock(reply: Sequence[bytes]) -> float:
    """Return Redis's clock in seconds since the epoch, from a reply to TIME."""
    seconds, micros = reply
    return int(seconds) + int(micros) / 1e6


def has_fresh_heartbeats(clock: Sequence[bytes], newest: Sequence[bytes]) -> bool:
    """Return True if a worker wrote a heartbeat lately, from the replies to NEWEST_HEARTBEAT."""
    return bool(newest) and parse_clock(clock) - float(newest[1]) < DEAD_AFTER


def read_redis(execute: Execute) -> RedisState:
    """Read the whole state of the Redis that has the heartbeats. Raises RedisError."""
    return read_state(execute, has_fresh_heartbeats(*execute(NEWEST_HEARTBEAT)), everything=True)
