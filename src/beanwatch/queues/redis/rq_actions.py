"""Actions on the queues of RQ: look at jobs, requeue failed ones, delete.

The scripts do what RQ itself does for one job, in one step. Data that RQ has pickled is never read:
unpickling it would run code.
"""

import re
import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.queues.base import DEFAULT_TIMEOUT, Job, UnsupportedError
from beanwatch.queues.redis.actions import MAX_LISTED, MAX_SHOWN_BODY, STEP, RedisActions, make_job
from beanwatch.queues.redis.replies import age_of, fields_of, list_of, name_of, text_of
from beanwatch.queues.redis.rq import RQ_PREFIX, parse_time
from beanwatch.words import count as count_words

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

# Both scripts return how many jobs they changed, and how many they left because of a rate limit:
# only RQ's own code can keep the counts of those right.
# KEYS: the failed jobs, the queue, the names of all queues. ARGV: prefix of jobs, now, ids.
REQUEUE = """
local done, limited = 0, 0
for i = 3, #ARGV do
    local job = ARGV[1] .. ARGV[i]
    if redis.call('HEXISTS', job, 'rate_limit_key') == 1 then
        limited = limited + 1
    elseif redis.call('ZREM', KEYS[1], ARGV[i]) == 1 and redis.call('EXISTS', job) == 1 then
        redis.call('HSET', job, 'status', 'queued', 'enqueued_at', ARGV[2],
            'started_at', '', 'ended_at', '')
        redis.call('HDEL', job, 'exc_info')
        local ttl = tonumber(redis.call('HGET', job, 'ttl'))
        if ttl and ttl > 0 then redis.call('EXPIRE', job, ttl) end
        redis.call('SADD', KEYS[3], KEYS[2])
        redis.call('RPUSH', KEYS[2], ARGV[i])
        done = done + 1
    end
end
return {done, limited}
"""
# KEYS: the list or sorted set of the jobs. ARGV: the prefix of all keys, "list" or "set", ids.
DELETE = """
local done, limited = 0, 0
for i = 3, #ARGV do
    local job, there = ARGV[1] .. 'job:' .. ARGV[i], 0
    if redis.call('HEXISTS', job, 'rate_limit_key') == 1 then
        limited = limited + 1
    elseif ARGV[2] == 'list' then
        there = redis.call('LREM', KEYS[1], 1, ARGV[i])
    else
        there = redis.call('ZREM', KEYS[1], ARGV[i])
    end
    if there == 1 then
        local group = redis.call('HGET', job, 'group_id')
        if group and group ~= '' then
            redis.call('SREM', ARGV[1] .. 'group:' .. group, ARGV[i])
        end
        redis.call('DEL', job, job .. ':dependents', ARGV[1] .. 'results:' .. ARGV[i],
            ARGV[1] .. 'executions:' .. ARGV[i],
            ARGV[1] .. 'job::' .. ARGV[i] .. ':dependencies')
        done = done + 1
    end
end
return {done, limited}
"""
CALL = re.compile(rb"([A-Za-z_][A-Za-z0-9_.]{0,199})\(")  # a description of a job, by default
STATES = {"queued": "ready", "started": "reserved", "scheduled": "delayed", "failed": "buried"}
SETS = {"buried": "failed", "delayed": "scheduled", "reserved": "wip"}
FIELDS = (
    *("description", "status", "created_at", "enqueued_at", "started_at", "ended_at"),
    *("timeout", "worker_name", "retries_left", "exc_info"),
)


class RqActions(RedisActions):
    """Actions on the queues of RQ. The body of a job is its description, such as `send(5)`."""

    def __init__(self, server: "Server", timeout: float = DEFAULT_TIMEOUT) -> None:
        super().__init__(server, timeout)
        self.prefix = self.prefix or RQ_PREFIX

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first job of a queue in a state; None if there is none."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` jobs; `facts["error"]` is the traceback of a failed one."""
        return self._read(queue, state, self._ids(queue, state, count))

    def locate(self, job_id: str) -> Job | None:
        """Return the job with this id; its state is RQ's own word if it is in no queue's state."""
        origin, status = self.ask([("HMGET", f"{self.prefix}job:{job_id}", "origin", "status")])[0]
        queue, word = name_of(origin), text_of(status, 50)
        if queue is None:
            return None
        return self._read(queue, STATES.get(word, word), [job_id])[0]

    def _read(self, queue: str, state: str, ids: Sequence[str]) -> list[Job]:
        names = [f"{self.prefix}job:{job_id}" for job_id in ids]
        replies = self.ask(
            [
                *[("HMGET", name, *FIELDS) for name in names],
                *[
                    ("XREVRANGE", f"{self.prefix}results:{job_id}", "+", "-", "COUNT", 1)
                    for job_id in ids
                ],
            ]
            if ids
            else []
        )
        now = self.now() if ids else None
        hashes, results = replies[: len(ids)], replies[len(ids) :]
        return [
            to_job(queue, state, job_id, values, entries, now)
            for job_id, values, entries in zip(ids, hashes, results, strict=True)
        ]

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Requeue up to `count` failed jobs, the ones first that RQ would forget first."""
        while count > 0 and (ids := self._ids(queue, "buried", min(count, STEP))):
            yield from self.kick_jobs(queue, ids)
            count -= len(ids)

    def kick_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Requeue the failed jobs with these ids, as `rq requeue` does; yield after each step."""
        keys = [self._key("failed", queue), self._key("queue", queue), f"{self.prefix}queues"]
        for start in range(0, len(ids), STEP):
            now = datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            part = ids[start : start + STEP]
            yield from self._run(REQUEUE, keys, [f"{self.prefix}job:", now, *part])

    def delete_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Delete the failed jobs with these ids, with all that RQ keeps of them."""
        yield from self._delete(queue, "buried", ids)

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` jobs of a queue in a state, the first ones first."""
        while count > 0 and (ids := self._ids(queue, state, min(count, STEP))):
            yield from self._delete(queue, state, ids)
            count -= len(ids)

    def _delete(self, queue: str, state: str, ids: Sequence[str]) -> Iterator[int]:
        if state == "reserved":
            raise self.no_state(state)
        key, kind = self._where(queue, state), "list" if state == "ready" else "set"
        for start in range(0, len(ids), STEP):
            yield from self._run(DELETE, [key], [self.prefix, kind, *ids[start : start + STEP]])

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[str]) -> Iterator[int]:
        done, limited = self.run_script(script, keys, arguments)
        if done:
            yield done
        if limited:
            jobs = count_words(limited, "job")
            raise UnsupportedError(
                f"{self.server}: {jobs} with a rate limit were left as they are: use rq requeue"
            )

    def _ids(self, queue: str, state: str, count: int) -> list[str]:
        key = self._where(queue, state)
        count = max(0, min(count, MAX_LISTED))
        if not count:
            return []
        command = "LRANGE" if state == "ready" else "ZRANGE"
        found = list_of(self.ask([(command, key, 0, count - 1)])[0])
        # The members of the set of running jobs are `id:execution`.
        names = [name_of(one) for one in found]
        if state == "reserved":
            names = [name and name.partition(":")[0] for name in names]
        return [name for name in names if name]

    def _where(self, queue: str, state: str) -> str:
        if state == "ready":
            return self._key("queue", queue)
        if state not in SETS:
            raise self.no_state(state)
        return self._key(SETS[state], queue)

    def _key(self, kind: str, queue: str) -> str:
        return f"{self.prefix}{kind}:{queue}"


def to_job(
    queue: str, state: str, job_id: str, values: Any, results: Any, now: float | None
) -> Job:
    """Make a Job from the values of FIELDS and the job's last result. Both may be anything."""
    found = dict(zip(FIELDS, list_of(values), strict=False))
    error = text_of(inflate(found.pop("exc_info", None)))
    for entry in list_of(results):
        parts = list_of(entry)
        encoded = fields_of(parts[1]).get(b"exc_string") if len(parts) == 2 else None
        error = text_of(inflate(decode(encoded))) or error
    description = found.pop("description", None)
    body = description if isinstance(description, bytes) else b""
    age = age_of(now, parse_time(found.get("created_at")))
    failed_at = parse_time(found.get("ended_at")) if state == "buried" else None
    facts: dict[str, Any] = {name: text_of(value, 200) for name, value in found.items() if value}
    facts |= {"id": job_id, "age": age, "error": error, "failed_at": failed_at}
    if called := CALL.match(body):
        facts["job"] = called[1].decode()
    return make_job(queue, state, body, **facts)


def decode(value: Any) -> bytes:
    """Return bytes that are encoded as base64; b"" if they are not."""
    try:
        return b64decode(value) if isinstance(value, bytes) else b""
    except (Base64Error, ValueError):
        return b""


def inflate(value: Any) -> bytes:
    """Return the start of compressed bytes, at most MAX_SHOWN_BODY; b"" for other bytes."""
    if not isinstance(value, bytes):
        return b""
    try:
        return zlib.decompressobj().decompress(value, MAX_SHOWN_BODY)
    except zlib.error:
        return b""
