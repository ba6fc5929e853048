"""The last failed runs in Redis, each with its body and traceback, so that they can be retried."""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from beanwatch.net.redis_url import KEY_PREFIX, Command, Execute
from beanwatch.store.records import RecordError, decode_record

# A sorted set of the keys of failed runs; the score is the time of the failure by Redis's clock.
FAILURES_KEY = f"{KEY_PREFIX}failures"
# The sum of the sizes of all failed runs, in bytes.
BYTES_KEY = f"{KEY_PREFIX}failures-bytes"
FAILURE_PREFIX = f"{KEY_PREFIX}failure:"

MAX_FAILURES = 10_000
MAX_BYTES = 64 * 1024 * 1024  # of all entries, bodies and tracebacks together
KEPT = 7 * 86400  # seconds
MAX_BODY = 64 * 1024  # bytes kept of a job's body; a longer body is cut, so it cannot be put again
TRIM_AT_ONCE = 20  # old failures that one new failure removes; Redis serves nobody else meanwhile
READ_AT_ONCE = 1000  # entries in one request

_ADD = """
local size = #ARGV[2] + #ARGV[3] + #ARGV[4]
local before = tonumber(redis.call('HGET', KEYS[2], 'size') or 0)
redis.call('HSET', KEYS[2], 'entry', ARGV[2], 'body', ARGV[3], 'traceback', ARGV[4], 'size', size)
redis.call('ZADD', KEYS[1], ARGV[1], KEYS[2])
local bytes = redis.call('INCRBY', KEYS[3], size - before)
for _ = 1, tonumber(ARGV[8]) do
  local count = redis.call('ZCARD', KEYS[1])
  if count == 1 then  -- so its size is the sum, even if Redis has evicted others with their sizes
    redis.call('SET', KEYS[3], size)
    break
  end
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  local over = count > tonumber(ARGV[5]) or bytes > tonumber(ARGV[6])
  if not over and tonumber(oldest[2]) >= tonumber(ARGV[7]) then break end
  bytes = redis.call('DECRBY', KEYS[3], tonumber(redis.call('HGET', oldest[1], 'size') or 0))
  redis.call('ZREM', KEYS[1], oldest[1])
  redis.call('UNLINK', oldest[1])
end
"""
_REMOVE = """
local removed = 0
for i = 3, #KEYS do
  local size = tonumber(redis.call('HGET', KEYS[i], 'size') or 0)
  removed = removed + redis.call('ZREM', KEYS[1], KEYS[i])
  redis.call('UNLINK', KEYS[i])
  redis.call('DECRBY', KEYS[2], size)
end
if redis.call('ZCARD', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end
return removed
"""


# Numbers of a failed run that a queue server may not know of a failed job that it keeps.
_UNTOLD = ("failed_at", "attempt", "started_at", "duration", "delay")


class Failure(NamedTuple):
    """A failed run. `failed_at` is in seconds since the epoch by Redis's clock.

    `server` identifies the process of the queue server, `address` is where the worker reached it.
    `started_at` is by the worker's clock. `duration`, `delay` and `ttr` are in seconds. `body_size`
    is that of the whole body in bytes, -1 if it is not known. If it is more than MAX_BODY, only the
    start of the body is kept.
    `traceback_hash` is equal for equal tracebacks, "" if there is none. `node` is the name of the
    queue server that itself keeps this failed job; "" for a run that a worker recorded.
    """

    id: str = ""
    failed_at: float = 0.0
    worker: str = ""
    server: str = ""
    address: str = ""
    queue: str = ""
    job: str = ""
    job_id: str = ""
    uuid: str = ""
    attempt: int = 0
    outcome: str = ""
    reason: str = ""
    traceback_hash: str = ""
    started_at: float = 0.0
    duration: float = 0.0
    delay: float = 0.0
    body_size: int = -1
    priority: int | None = None
    ttr: int | None = None
    node: str = ""

    @property
    def has_whole_body(self) -> bool:
        """True if the body is known and was not cut, so that the job can be put again."""
        return 0 <= self.body_size <= MAX_BODY

    def tree(self) -> dict[str, Any]:
        """Return the fields as objects for JSON. None: a server that keeps the job does not say."""
        fields = self._asdict()
        if self.node:
            fields |= {name: fields[name] or None for name in _UNTOLD}
        return fields


class FailureDetail(NamedTuple):
    """The large parts of a failed run: the job's body (at most MAX_BODY bytes) and a traceback."""

    body: bytes
    traceback: str


def failure_id(server: str, queue: str, job_id: str, attempt: int, started_at: float) -> str:
    """Return the id of a failed run. It is the same if the run is recorded twice."""
    text = f"{server}\0{queue}\0{job_id}\0{attempt}\0{started_at:.6f}"
    return blake2b(text.encode("utf-8", "replace"), digest_size=10).hexdigest()


def hash_traceback(traceback: str) -> str:
    """Return a short hash of a traceback; "" for none."""
    if not traceback:
        return ""
    return blake2b(traceback.encode("utf-8", "replace"), digest_size=6).hexdigest()


def add_command(failure_id: str, failed_at: float, entry: bytes, detail: FailureDetail) -> Command:
    """Return the command that records a failed run, and removes old ones beyond the limits.

    `entry` is the JSON of a Failure without its id and time. Sending it twice does no harm.
    """
    return (
        *("EVAL", _ADD, 3, FAILURES_KEY, FAILURE_PREFIX + failure_id, BYTES_KEY),
        *(failed_at, entry, detail.body[:MAX_BODY], detail.traceback.encode("utf-8", "replace")),
        *(MAX_FAILURES, MAX_BYTES, failed_at - KEPT, TRIM_AT_ONCE),
    )


class FailureReader:
    """Reads the list of failed runs again and again; asks Redis only for those that are new."""

    def __init__(self, on_rejected: Callable[[RecordError], object] = lambda _: None) -> None:
        self._known: dict[str, Failure | None] = {}  # by id; None: its entry cannot be read
        self._on_rejected = on_rejected

    def read(self, execute: Execute) -> list[Failure]:
        """Return all recorded failures, the newest first. Raises RedisError."""
        (members,) = execute([("ZREVRANGE", FAILURES_KEY, 0, MAX_FAILURES - 1, "WITHSCORES")])
        times = {
            member.decode("utf-8", "replace").removeprefix(FAILURE_PREFIX): float(score)
            for member, score in zip(members[::2], members[1::2], strict=True)
        }
        new = [one for one in times if one not in self._known]
        known = {one: self._known[one] for one in times if one in self._known}
        for start in range(0, len(new), READ_AT_ONCE):
            part = new[start : start + READ_AT_ONCE]
            entries = execute([("HGET", FAILURE_PREFIX + one, "entry") for one in part])
            for one, entry in zip(part, entries, strict=True):
                if entry is not None:
                    known[one] = self._decode(one, times[one], entry)
        self._known = known
        return [known[one] for one in times if known.get(one) is not None]  # type: ignore[misc]

    def _decode(self, ident: str, failed_at: float, entry: bytes) -> Failure | None:
        try:
            return decode_record(entry, Failure)._replace(id=ident, failed_at=failed_at, node="")
        except RecordError as error:
            self._on_rejected(error)
            return None


def read_detail(execute: Execute, ident: str) -> FailureDetail | None:
    """Return the body and the traceback of a failed run; None if it is no longer recorded.

    Raises RedisError.
    """
    ((body, traceback),) = execute([("HMGET", FAILURE_PREFIX + ident, "body", "traceback")])
    if body is None:
        return None
    return FailureDetail(body, (traceback or b"").decode("utf-8", "replace"))


def remove_failures(execute: Execute, idents: Iterable[str]) -> int:
    """Remove failed runs from the list; return how many there were. Raises RedisError."""
    keys: Sequence[str] = [FAILURE_PREFIX + one for one in idents]
    removed = 0
    for start in range(0, len(keys), READ_AT_ONCE):
        part = keys[start : start + READ_AT_ONCE]
        command: Command = ("EVAL", _REMOVE, len(part) + 2, FAILURES_KEY, BYTES_KEY, *part)
        removed += int(execute([command])[0])
    return removed
