"""The workers' heartbeat records in Redis: keys, fields, encoding and reading."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from beanwatch.net.redis_info import RedisState
from beanwatch.net.redis_url import KEY_PREFIX, Command, Execute, RedisError, describe_refusal
from beanwatch.store.clock import parse_time
from beanwatch.store.records import RecordError, decode_record
from beanwatch.store.redis_state import read_state
from beanwatch.store.run_totals import RunTotals, parse_totals

# A sorted set of worker ids; the score is the time of the last heartbeat by Redis's clock.
WORKERS_KEY = f"{KEY_PREFIX}workers"
# A sorted set of workers that have stopped and need not run, but whose record still tells of a
# crash or of recycles; the score is the time of the stop by Redis's clock.
ENDED_KEY = f"{KEY_PREFIX}ended"
# A number. All workers restart when it changes.
VERSION_KEY = f"{KEY_PREFIX}version"
RECORD_EXPIRY = 3600  # seconds after which a record expires, unless the worker is an expected one
DEAD_AFTER = 10.0  # seconds without a heartbeat; or three heartbeat intervals, if that is longer
PARSERS = {"totals": parse_totals}
# Commands that read Redis's clock, and the time of the newest heartbeat of all workers.
NEWEST_HEARTBEAT = (("TIME",), ("ZRANGE", WORKERS_KEY, -1, -1, "WITHSCORES"))


def worker_key(worker: str) -> str:
    """Return the key of a worker's record; `worker` is its id, `<host>.<name>`."""
    return f"{KEY_PREFIX}worker:{worker}"


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
    is_disconnected: bool = False  # it is blocked because it cannot use its queue server
    job: str = ""
    job_id: int = 0
    job_uuid: str = ""
    queue: str = ""
    where: str = ""  # the source line that the handler is executing
    note: str = ""  # set by the handler with `ctx.note`
    progress: tuple[int, ...] = ()  # (steps done, total steps)
    app_version: str = ""
    started_at: float = 0.0
    redis_started_at: float = 0.0  # the same by Redis's clock, to compare with other workers
    job_started_at: float = 0.0
    job_cpu: float = 0.0  # seconds of CPU time that the job has used
    deadline: float = 0.0  # when JobTimeout is raised in the handler
    hard_deadline: float = 0.0  # when the worker exits if the handler has not ended
    loop_at: float = 0.0  # when the main thread last ran its loop
    beat_at: float = 0.0  # when this record was made
    processed: int = 0
    failed: int = 0
    errors: int = 0  # exceptions in the worker's sinks, hooks, ticks and closes since its start
    ignored_values: int = 0  # in envelopes since its start: numbers that cannot be right
    rss: int = 0  # bytes
    disk_free: int | None = None  # bytes; None: not known
    interval: float = 1.0  # seconds between two heartbeats
    reserve_timeout: float = 0.0  # seconds
    shutdown_timeout: float = 0.0  # seconds that the running job has to end after a stop
    shutdown_deadline: float = 0.0  # when that time ends
    version: str = ""
    restarts: int = 0
    last_exit: str = ""  # how the last instance that crashed or failed ended; empty if none did
    crashed_at: float = 0.0  # when the instance after that one started
    last_words: str = ""  # the failure for which this instance has exited; empty while it runs
    recycles: int = 0  # exits at a limit (--max-...) since an operator last stopped the worker
    recycled_at: tuple[int, ...] = ()  # when the last ones were, at most 20 within an hour
    recycled_why: str = ""  # which limit the last one reached, and after how many jobs
    restart_refused: str = ""  # why it runs on though it was told to restart
    failed_starts: int = 0  # starts in a row that failed; then `state` is starting
    black_box: str = ""  # path of the file that says how this instance ended, on its host
    # The runs of each kind of job; None: not known
    totals: tuple[RunTotals, ...] | None = None
    totals_of: str = ""  # the earlier instance since whose start they count; "": this one
    is_over: bool = False  # this instance has exited on request; the next one has not started yet


class Worker(NamedTuple):
    """A worker as read from Redis: its id, its last record, and the age of that record.

    `age` is in seconds by Redis's clock. `heartbeat` is None if there is no record, or if the
    record is invalid. In the second case `problem` says why.

    `doubt` says why nobody can know whether this worker is alive, though its last heartbeat is too
    old: Redis refuses writes. It is empty for a worker that can be judged.

    `has_left`: it has stopped and need not run, but its record still tells of a crash or of
    recycles.
    """

    id: str
    age: float
    heartbeat: Heartbeat | None
    problem: str = ""
    doubt: str = ""
    has_left: bool = False

    @property
    def is_late(self) -> bool:
        """True if the last heartbeat is older than 10 s and older than three intervals."""
        interval = self.heartbeat.interval if self.heartbeat else 1.0
        return not self.has_left and self.age > max(3 * interval, DEAD_AFTER)


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Encode a record as the JSON object that is stored in Redis."""
    return json.dumps(heartbeat._asdict(), separators=(",", ":")).encode()


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Decode and validate a stored record. Raises RecordError."""
    return decode_record(body, Heartbeat, PARSERS)


def make_worker(worker: str, age: float, body: bytes | None) -> Worker:
    """Make a Worker from a stored record, which may be invalid; `body` is None if there is none."""
    if body is None:
        return Worker(worker, age, None)
    try:
        return Worker(worker, age, decode_heartbeat(body))
    except RecordError as error:
        return Worker(worker, age, None, str(error))


def read_workers(
    execute: Execute, only: Iterable[str] | None = None, *, with_ended: bool = False
) -> list[Worker]:
    """Read all workers, or those with an id in `only`, sorted by id. Takes two round trips.

    `with_ended` adds the workers that have stopped and whose record still tells something.
    `execute` sends commands to Redis. If a worker seems to be dead, one or two more round trips
    find out whether Redis takes writes; if not, each such worker has a `doubt`. Raises RedisError,
    also if Redis has no worker and takes no writes.
    """
    commands: list[Command] = [("TIME",), ("ZRANGE", WORKERS_KEY, 0, -1, "WITHSCORES")]
    if with_ended:
        commands.append(("ZRANGE", ENDED_KEY, 0, -1, "WITHSCORES"))
    clock, running, *ended = execute(commands)
    now = parse_time(clock)
    wanted = None if only is None else set(only)
    seen = [(worker, score, False) for worker, score in _parse_scores(running)]
    is_fresh = any(now - score < DEAD_AFTER for _, score, _ in seen)
    names = {worker for worker, _, _ in seen}
    for scored in ended:
        seen += [(worker, at, True) for worker, at in _parse_scores(scored) if worker not in names]
    seen.sort()
    if not seen and (refusal := read_state(execute).refusal):
        raise RedisError(describe_refusal(refusal), refusal)
    if wanted is not None:
        seen = [one for one in seen if one[0] in wanted]
    if not seen:
        return []
    (records,) = execute([("MGET", *(worker_key(worker) for worker, _, _ in seen))])
    workers = [
        make_worker(worker, max(0.0, now - score), record)._replace(has_left=has_left)
        for (worker, score, has_left), record in zip(seen, records, strict=True)
        if record is not None or not has_left  # the record of one that has stopped may expire
    ]
    if not any(worker.is_late for worker in workers):
        return workers
    refusal = read_state(execute, is_fresh).refusal
    doubt = describe_refusal(refusal) if refusal else ""
    return [worker._replace(doubt=doubt) if worker.is_late else worker for worker in workers]


def _parse_scores(scored: Sequence[bytes]) -> Iterator[tuple[str, float]]:
    """Yield the members and scores of a sorted set, from a reply WITHSCORES."""
    for member, score in zip(scored[::2], scored[1::2], strict=True):
        yield member.decode("utf-8", "replace"), float(score)


def has_fresh_heartbeats(clock: Sequence[bytes], newest: Sequence[bytes]) -> bool:
    """Return True if a worker wrote a heartbeat lately, from the replies to NEWEST_HEARTBEAT."""
    return bool(newest) and parse_time(clock) - float(newest[1]) < DEAD_AFTER


def read_redis(execute: Execute) -> RedisState:
    """Read the whole state of the Redis that has the heartbeats. Raises RedisError."""
    return read_state(execute, has_fresh_heartbeats(*execute(NEWEST_HEARTBEAT)), everything=True)
