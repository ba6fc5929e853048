"""What happened to a job: the ledger that the workers write in Redis, and how it is read."""

import json
from typing import Any, NamedTuple

from beanwatch.net.redis_url import Execute

# All jobs that have a ledger, by the time of the last entry: what bounds it as a whole.
JOBS_KEY = "beanwatch:jobs"


def job_key(uuid: str, server: str, job_id: int) -> str:
    """The runs of a job: a sorted set of entries (JSON) by their start, under its uuid if any.

    `server` is the `id` of beanstalkd's `stats`: job ids start anew with the server.
    """
    return f"beanwatch:job:{uuid}" if uuid else f"beanwatch:job:{server}:{job_id}"


def uuid_key(server: str, job_id: int) -> str:
    """Where the uuid of a job stands that is known by its beanstalkd id only."""
    return f"beanwatch:job-uuid:{server}:{job_id}"


def buried_key(server: str, queue: str) -> str:
    """The jobs that were buried in a queue: a sorted set of JSON by beanstalkd id."""
    return f"beanwatch:buried:{server}:{queue}"


class Entry(NamedTuple):
    """One run of one job. Times are seconds since the epoch by the worker's clock."""

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


class Buried(NamedTuple):
    """A job that a worker buried. It may have been kicked or deleted since: ask beanstalkd."""

    job_id: int
    job: str = ""
    uuid: str = ""
    outcome: str = ""
    reason: str = ""
    buried_at: float = 0.0


def parse_entry(body: bytes) -> Entry | None:
    """Read one entry. Unknown fields (a newer worker's) are left out; nonsense gives None."""
    fields = _fields(body, Entry)
    if fields is None:
        return None
    ids = fields.get("follow_ups", ())
    fields["follow_ups"] = tuple(map(str, ids)) if isinstance(ids, list) else ()
    return Entry(**fields)


def parse_buried(body: bytes) -> Buried | None:
    """Read one buried job, or None."""
    fields = _fields(body, Buried)
    return Buried(**fields) if fields and "job_id" in fields else None


def _fields(body: bytes, kind: type[Any]) -> dict[str, Any] | None:
    try:
        record = json.loads(body)
        known = {key: record[key] for key in kind._fields if key in record}
    except (ValueError, TypeError):
        return None
    for key, value in known.items():
        default = kind._field_defaults.get(key, 0)
        number = isinstance(default, int | float)
        if key != "follow_ups" and isinstance(value, int | float) is not number:
            return None
    return known


def read_job(execute: Execute, uuid: str) -> list[Entry]:
    """Every recorded run of a job, in the order of their starts. Empty: nothing is known."""
    (members,) = execute([("ZRANGE", job_key(uuid, "", 0), 0, -1)])
    return _entries(members)


def read_job_by_id(execute: Execute, server: str, job_id: int) -> list[Entry]:
    """The same for a beanstalkd id and the `id` of its server's `stats`.

    A job that has a uuid brings all runs under that uuid, so that a duplicate (the same
    uuid under another beanstalkd id) shows.
    """
    uuid, members = execute(
        [("GET", uuid_key(server, job_id)), ("ZRANGE", job_key("", server, job_id), 0, -1)]
    )
    return read_job(execute, uuid.decode()) if uuid else _entries(members)


def find_buried(execute: Execute, server: str, queue: str) -> list[Buried]:
    """The jobs that workers buried in a queue, by beanstalkd id; one round trip.

    `server` is the `id` of beanstalkd's `stats`. Empty also when the workers keep no ledger.
    """
    (members,) = execute([("ZRANGE", buried_key(server, queue), 0, -1)])
    return [found for member in members if (found := parse_buried(member))]


def _entries(members: list[bytes]) -> list[Entry]:
    return [entry for member in members if (entry := parse_entry(member))]
