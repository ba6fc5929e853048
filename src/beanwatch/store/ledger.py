"""The ledger, records in Redis of how each run of a job ended: keys, fields and reading."""

from collections.abc import Callable

from beanwatch.light_typing import NamedTuple, TypeVar
from beanwatch.net.redis_url import KEY_PREFIX, Execute
from beanwatch.store.records import (
    RecordError,
    decode_record,
    parse_job_id,
)

# A sorted set of the ledger's keys; the score is the time of the last write, by Redis's clock. It
# serves to remove the oldest keys.
JOBS_KEY = f"{KEY_PREFIX}jobs"

T = TypeVar("T")
OnRejected = Callable[[RecordError], object]


def job_key(uuid: str, server: str, job_id: int | str) -> str:
    """Return the key of a job's runs: a sorted set of JSON entries, the score is the run's start.

    The key contains the job's uuid. Without one, it contains the job's id and `server`,
    which identifies the process of the beanstalkd: job ids restart at 1 when the server restarts.
    The two kinds of keys begin differently, as a producer may choose any uuid.
    """
    return f"{KEY_PREFIX}job:{uuid}" if uuid else f"{KEY_PREFIX}job-number:{server}:{job_id}"


def uuid_key(server: str, job_id: int) -> str:
    """Return the key that maps a job's beanstalkd id to its uuid; `server` is as in `job_key`."""
    return f"{KEY_PREFIX}job-uuid:{server}:{job_id}"


def buried_key(server: str, queue: str) -> str:
    """Return the key of a queue's buried jobs: a sorted set of JSON; the score is the job's id.

    `server` is as in `job_key`.
    """
    return f"{KEY_PREFIX}buried:{server}:{queue}"


def buried_servers_key(queue: str) -> str:
    """Return the key of the servers on which jobs of a queue were buried.

    It is a sorted set; the score is the time of the last one, by Redis's clock.
    """
    return f"{KEY_PREFIX}buried-on:{queue}"


class LedgerEntry(NamedTuple):
    """The record of one run of one job. `started_at` is seconds since the epoch (worker's clock).

    `wait`, `duration` and `delay` are in seconds. The fields are `worker`, `instance`, and those of
    `beanwatch.worker.monitor.runs.Run`, which documents them.
    """

    worker: str = ""
    instance: str = ""
    server: str = ""
    queue: str = ""
    job: str = ""
    job_id: str = ""
    uuid: str = ""
    attempt: int = 0
    outcome: str = ""
    reason: str = ""
    traceback: str = ""
    started_at: float = 0.0
    wait: float | None = None
    duration: float = 0.0
    delay: float = 0.0
    parent: str = ""
    follow_ups: tuple[str, ...] = ()


class BuriedJob(NamedTuple):
    """A job that a worker has buried. Ask beanstalkd whether it was kicked or deleted since then.

    `buried_at` is in seconds since the epoch by Redis's clock.
    """

    job_id: int
    job: str = ""
    uuid: str = ""
    outcome: str = ""
    reason: str = ""
    buried_at: float = 0.0


def ignore(_: RecordError) -> None:
    """Do nothing about an invalid record: it is left out of the result."""


def read_job(execute: Execute, uuid: str, on_rejected: OnRejected = ignore) -> list[LedgerEntry]:
    """Return the recorded runs of a job in their order; empty if there are none.

    `on_rejected` is called for each invalid entry. Takes one round trip. Raises RedisError.
    """
    (members,) = execute([("ZRANGE", job_key(uuid, "", 0), 0, -1)])
    return _sort_runs(_decode_all(members, decode_entry, on_rejected))


def read_job_by_id(
    execute: Execute, server: str, job_id: int, on_rejected: OnRejected = ignore
) -> list[LedgerEntry]:
    """Return the recorded runs of a job by its beanstalkd id, in their order.

    `server` is the `id` in beanstalkd's `stats`. If the job has a uuid, the result has all runs
    with that uuid, also those of a duplicate of the job with another beanstalkd id. `on_rejected`
    is called for each invalid entry. Raises RedisError.
    """
    uuid, members = execute(
        [("GET", uuid_key(server, job_id)), ("ZRANGE", job_key("", server, job_id), 0, -1)]
    )
    if uuid:
        return read_job(execute, uuid.decode("utf-8", "replace"), on_rejected)
    return _sort_runs(_decode_all(members, decode_entry, on_rejected))


def find_buried(
    execute: Execute, server: str, queue: str, on_rejected: OnRejected = ignore
) -> list[BuriedJob]:
    """Return the jobs that workers have buried in a queue, ordered by beanstalkd id.

    `server` is the `id` in beanstalkd's `stats`. The result is also empty if the workers write no
    ledger. `on_rejected` is called for each invalid entry. Takes one round trip. Raises RedisError.
    """
    (members,) = execute([("ZRANGE", buried_key(server, queue), 0, -1)])
    return _decode_all(members, _decode_buried, on_rejected)


def find_buried_elsewhere(
    execute: Execute, server: str, queue: str, on_rejected: OnRejected = ignore
) -> list[BuriedJob]:
    """Return the jobs with a uuid that were buried in a queue of this name, but not on `server`.

    They were buried on other servers, or before a restart of this one. The arguments are as in
    `find_buried`. Takes up to two round trips. Raises RedisError.
    """
    (servers,) = execute([("ZRANGE", buried_servers_key(queue), 0, -1)])
    others = [one for raw in servers if (one := raw.decode("utf-8", "replace")) != server]
    if not others:
        return []
    replies = execute([("ZRANGE", buried_key(other, queue), 0, -1) for other in others])
    found = [
        job for members in replies for job in _decode_all(members, _decode_buried, on_rejected)
    ]
    return [job for job in found if job.uuid]


def decode_entry(body: bytes) -> LedgerEntry:
    """Decode and validate an entry. Raises RecordError."""
    return decode_record(body, LedgerEntry, {"job_id": parse_job_id})


def _sort_runs(entries: list[LedgerEntry]) -> list[LedgerEntry]:
    """Sort runs by their attempt: they may have started by the clocks of different hosts.

    Runs under another beanstalkd id (of a duplicate, or after a restart of beanstalkd) follow.
    """
    first: dict[tuple[str, str], float] = {}
    for entry in entries:
        start = first.get((entry.server, entry.job_id), entry.started_at)
        first[entry.server, entry.job_id] = min(start, entry.started_at)
    return sorted(
        entries,
        key=lambda one: (first[one.server, one.job_id], one.server, one.job_id, one.attempt),
    )


def _decode_buried(body: bytes) -> BuriedJob:
    return decode_record(body, BuriedJob)


def _decode_all(
    members: list[bytes], decode: Callable[[bytes], T], on_rejected: OnRejected
) -> list[T]:
    decoded = []
    for member in members:
        try:
            decoded.append(decode(member))
        except RecordError as error:
            on_rejected(error)
    return decoded
