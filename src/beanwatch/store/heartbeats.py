"""The workers' heartbeat records in Redis: keys, fields, encoding and reading."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence

from beanwatch.light_typing import Any, NamedTuple
from beanwatch.net.redis_info import RedisState
from beanwatch.net.redis_url import KEY_PREFIX, Command, Execute, RedisError, describe_refusal
from beanwatch.store.clock import parse_time
from beanwatch.store.records import RecordError, decode_record, parse_job_id, read_record
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
VERSION = 2  # of the record; raised when a field gets another meaning, not when one is added
OWN_KIND = "beanwatch"  # of worker
MAX_JOBS = 1000  # in the record of one process
# Commands that read Redis's clock, and the time of the newest heartbeat of all workers.
NEWEST_HEARTBEAT = (("TIME",), ("ZRANGE", WORKERS_KEY, -1, -1, "WITHSCORES"))


def worker_key(worker: str) -> str:
    """Return the key of a worker's record; `worker` is its id, `<host>.<name>`."""
    return f"{KEY_PREFIX}worker:{worker}"


class JobRecord(NamedTuple):
    """A running job in a worker's record. Times are as in Heartbeat."""

    id: str  # the id that the queue system gave it
    uuid: str = ""  # the id that its producer gave it
    name: str = ""
    queue: str = ""
    attempt: int | None = None  # 1 is the first
    where: str = ""  # the source line that it executes, as `file:line function`
    note: str = ""  # set by the job
    progress: tuple[int, ...] = ()  # (steps done, total steps)
    started_at: float = 0.0
    cpu: float | None = None  # seconds of CPU time that its thread has used for it
    deadline: float = 0.0  # when it counts as hung
    hard_deadline: float = 0.0  # when something ends it, or the process
    thread: str = ""  # the name of its thread, if the process has several


class Heartbeat(NamedTuple):
    """The record of one worker process. Times are seconds since the epoch by the worker's clock.

    In times, 0 means none. docs/worker-record.md explains all fields.
    """

    # The fields without a default are required: they are the smallest record.
    v: int
    instance: str  # differs for each process that ever has this id
    host: str
    name: str
    pid: int
    state: str  # starting idle busy waiting blocked stopping
    loop_at: float  # when the main loop last moved
    beat_at: float  # when this record was made
    kind: str = "other"  # beanwatch celery rq dramatiq php run other
    reason: str = ""  # why it is blocked, waiting or stopping
    is_disconnected: bool = False  # it is blocked because it cannot use its queue server
    jobs: tuple[JobRecord, ...] = ()  # those that run now
    hostname: str = ""  # the whole name of the host; `host` may be its first part
    process: str = ""  # identifies the process on its host; see beanwatch.net.processes
    child_of: str = ""  # the id of the worker that forked this one
    server: str = ""  # the address of its queue server
    queues: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()  # those that it carries out
    commands_by: str = ""  # how they reach it: beanstalkd (that is `server`), redis
    app_version: str = ""
    version: str = ""  # of the program that writes the record
    interval: float = 1.0  # seconds between two heartbeats
    started_at: float = 0.0
    redis_started_at: float = 0.0  # the same by Redis's clock, to compare with other workers
    max_idle: float = 60.0  # seconds for which the main loop may stand still; 0: not judged
    has_own_loop: bool = False  # the main loop also moves while jobs run
    processed: int | None = None  # runs that have ended
    failed: int | None = None  # of these, those that failed
    errors: int | None = None  # exceptions in the worker's own parts since its start
    ignored_values: int | None = None  # in envelopes since its start: numbers that cannot be right
    rss: int | None = None  # bytes
    cpu: float | None = None  # seconds of CPU time that the process has used
    disk_free: int | None = None  # bytes
    shutdown_timeout: float = 0.0  # seconds that the running job has to end after a stop
    shutdown_deadline: float = 0.0  # when that time ends
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

    @property
    def job(self) -> JobRecord | None:
        """The job to name first: the first one to pass its deadline, or else the oldest."""
        if len(self.jobs) < 2:
            return self.jobs[0] if self.jobs else None
        return min(self.jobs, key=lambda job: (job.deadline or math.inf, job.started_at))


NO_HEARTBEAT = Heartbeat(VERSION, "", "", "", 0, "starting", 0.0, 0.0)


class Worker(NamedTuple):
    """A worker as read from Redis: its id, its last record, and the age of that record.

    `age` is in seconds by Redis's clock. `heartbeat` is None if there is no record, or if the
    record is invalid. In the second case `problem` says why.

    `doubt` says why nobody can know whether this worker is alive, though its last heartbeat is too
    old: Redis refuses writes. It is empty for a worker that can be judged.

    `has_left`: it has stopped and need not run, but its record still tells of a crash or of
    recycles.

    `process` is the state of its process if it was looked for (see `find_process`); "": not known.
    """

    id: str
    age: float
    heartbeat: Heartbeat | None
    problem: str = ""
    doubt: str = ""
    has_left: bool = False
    process: str = ""

    @property
    def interval(self) -> float:
        """The seconds between two heartbeats: one second, if there is no record."""
        return self.heartbeat.interval if self.heartbeat else 1.0

    @property
    def is_late(self) -> bool:
        """True if the last heartbeat is older than 10 s and older than three intervals."""
        return not self.has_left and self.age > max(3 * self.interval, DEAD_AFTER)


def takes_jobs_from(heartbeat: Heartbeat, node: str, address: str, *, is_only_server: bool) -> bool:
    """Return True if a worker takes its jobs from the server with this node and this address.

    A record has the address that its worker was given, which may be an alias, or the name in the
    configuration. So with a single server (`is_only_server`), every beanwatch worker takes its jobs
    from there. Other workers may use any other server, unless they name this one.
    """
    if heartbeat.server in (node, address):
        return True
    return is_only_server and heartbeat.kind == OWN_KIND


def heartbeat_tree(heartbeat: Heartbeat) -> dict[str, Any]:
    """Return a record as a tree for JSON."""
    totals = heartbeat.totals
    return {
        **heartbeat._asdict(),
        "jobs": [job._asdict() for job in heartbeat.jobs],
        "totals": None if totals is None else [one._asdict() for one in totals],
    }


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Encode a record as the JSON object that is stored in Redis."""
    return json.dumps(heartbeat_tree(heartbeat), separators=(",", ":")).encode()


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Decode and validate a stored record. Raises RecordError."""
    return decode_record(body, Heartbeat, PARSERS)


def _parse_version(value: Any) -> int:
    if value == VERSION and type(value) is not bool:
        return VERSION
    if type(value) in (int, float) and value > VERSION:
        raise ValueError(f"the record is of version {value}, this beanwatch reads {VERSION}")
    raise ValueError(f"expected {VERSION}, the version of the record")


def _parse_jobs(value: Any) -> tuple[JobRecord, ...]:
    if type(value) is not list or len(value) > MAX_JOBS:
        raise ValueError(f"expected a list of at most {MAX_JOBS} jobs")
    return tuple(
        read_record(job, JobRecord, JOB_PARSERS, f"jobs[{at}].") for at, job in enumerate(value)
    )


PARSERS = {"v": _parse_version, "jobs": _parse_jobs, "totals": parse_totals}
JOB_PARSERS = {"id": parse_job_id}


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
    find out whether Redis takes writes; if not, each such worker has a `doubt`, unless others wrote
    when it was late already. Raises RedisError, also if Redis has no worker and takes no writes.
    """
    commands: list[Command] = [("TIME",), ("ZRANGE", WORKERS_KEY, 0, -1, "WITHSCORES")]
    if with_ended:
        commands.append(("ZRANGE", ENDED_KEY, 0, -1, "WITHSCORES"))
    clock, running, *ended = execute(commands)
    now = parse_time(clock)
    wanted = None if only is None else set(only)
    seen = [(worker, score, False) for worker, score in _parse_scores(running)]
    newest_age = min((now - score for _, score, _ in seen), default=0.0)
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
    late = [worker for worker in workers if worker.is_late]
    if not late:
        return workers
    # While Redis takes no writes, no heartbeat of a worker is much older than the newest one.
    doubtful = {one.id for one in late if one.age - newest_age <= 2 * one.interval}
    refusal = read_state(execute, not doubtful).refusal
    doubt = describe_refusal(refusal) if refusal else ""
    return [
        worker._replace(doubt=doubt) if worker.is_late and worker.id in doubtful else worker
        for worker in workers
    ]


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
