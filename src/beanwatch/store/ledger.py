"""The ledger: how each run of a job ended. Its keys and records in Redis, and how they are read."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from beanwatch.net.redis_url import Execute
from beanwatch.store.records import RecordError, decode_record

# A sorted set: all keys of the ledger by the time of their last entry. It bounds the whole ledger.
JOBS_KEY = "beanwatch:jobs"
# Written only to see whether Redis still takes writes; see `RedisStream`.
PROBE_KEY = "beanwatch:probe"

T = TypeVar("T")
OnRejected = Callable[[RecordError], object]


def job_key(uuid: str, server: str, job_id: int) -> str:
    """The key of a job's runs: a sorted set of entries (JSON) by their start.

    It is named by the job's uuid, or if it has none by its beanstalkd id and `server`, the `id` of
    beanstalkd's `stats`: job ids start again at 1 when the server does.
    """
    return f"beanwatch:job:{uuid}" if uuid else f"beanwatch:job:{server}:{job_id}"


def uuid_key(server: str, job_id: int) -> str:
    """The key of the uuid of a job of which only the beanstalkd id is known."""
    return f"beanwatch:job-uuid:{server}:{job_id}"


def buried_key(server: str, queue: str) -> str:
    """The key of the jobs that were buried in a queue: a sorted set (JSON) by beanstalkd id."""
    return f"beanwatch:buried:{server}:{queue}"


class LedgerEntry(NamedTuple):
    """One run of one job. Times are seconds since the epoch by the worker's clock, spans seconds.

    The fields are those of the worker's `Run`, which is what is written, and two of the worker.
    """

    worker: str = ""
    instance: str = ""
    server: str = ""
    queue: str = ""
    job: str = ""
    job_id: int = 0
    uuid: str = ""
    attempt: int = 0
    outcome: str = ""
    reason: str = ""
    traceback: str = ""
    started_at: float = 0.0
    wait: float = 0.0
    duration: float = 0.0
    delay: float = 0.0
    parent: str = ""
    follow_ups: tuple[str, ...] = ()


class BuriedJob(NamedTuple):
    """A job that a worker buried. It may have been kicked or deleted since: ask beanstalkd."""

    job_id: int
    job: str = ""
    uuid: str = ""
    outcome: str = ""
    reason: str = ""
    buried_at: float = 0.0


def ignore(_: RecordError) -> None:
    """Leave a rejected record out."""


def read_job(execute: Execute, uuid: str, on_rejected: OnRejected = ignore) -> list[LedgerEntry]:
    """Every recorded run of a job, in the order of their starts. Empty: nothing is known.

    `on_rejected` is called for each entry that cannot be read. Raises RedisError.
    """
    (members,) = execute([("ZRANGE", job_key(uuid, "", 0), 0, -1)])
    return _decode_all(members, LedgerEntry, on_rejected)


def read_job_by_id(
    execute: Execute, server: str, job_id: int, on_rejected: OnRejected = ignore
) -> list[LedgerEntry]:
    """The same for a beanstalkd id and the `id` of its server's `stats`.

    For a job that has a uuid, all runs under that uuid: so a duplicate (the same uuid under
    another beanstalkd id) shows. Raises RedisError.
    """
    uuid, members = execute(
        [("GET", uuid_key(server, job_id)), ("ZRANGE", job_key("", server, job_id), 0, -1)]
    )
    if uuid:
        return read_job(execute, uuid.decode("utf-8", "replace"), on_rejected)
    return _decode_all(members, LedgerEntry, on_rejected)


def find_buried(
    execute: Execute, server: str, queue: str, on_rejected: OnRejected = ignore
) -> list[BuriedJob]:
    """The jobs that workers buried in a queue, by beanstalkd id; one round trip.

    `server` is the `id` of beanstalkd's `stats`. Empty also when the workers keep no ledger.
    Raises RedisError.
    """
    (members,) = execute([("ZRANGE", buried_key(server, queue), 0, -1)])
    return _decode_all(members, BuriedJob, on_rejected)


def _decode_all(members: list[bytes], kind: type[T], on_rejected: OnRejected) -> list[T]:
    decoded = []
    for member in members:
        try:
            decoded.append(decode_record(member, kind))
        except RecordError as error:
            on_rejected(error)
    return decoded
