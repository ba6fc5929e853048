"""Counts of job outcomes per minute in Redis: keys, fields and reading."""

from collections import Counter

from beanwatch.light_typing import NamedTuple
from beanwatch.net.redis_url import KEY_PREFIX, Execute, RedisError, describe_refusal
from beanwatch.store.clock import parse_time
from beanwatch.store.heartbeats import NEWEST_HEARTBEAT, has_fresh_heartbeats
from beanwatch.store.redis_state import read_state

KEPT_MINUTES = 120  # minutes after which a count expires


class JobKind(NamedTuple):
    """A kind of job: the name of a queue and the name of a job.

    The job's name is `unknown` for all jobs that have no registered handler.
    """

    queue: str
    job: str


def outcomes_key(minute: int) -> str:
    """Return the key of one minute's counts, a hash; `minute` is seconds since the epoch // 60."""
    return f"{KEY_PREFIX}outcomes:{minute}"


def outcome_field(queue: str, job: str, outcome: str) -> str:
    """Return the hash field `<queue>|<job>|<outcome>`. Only the job's name may contain a `|`."""
    return f"{queue}|{job}|{outcome}"


def parse_outcomes(fields: list[bytes]) -> dict[JobKind, Counter[str]]:
    """Return the counts by outcome for each kind of job, from a reply to HGETALL.

    `fields` has names and values in turn. Fields of any other form are ignored.
    """
    counts: dict[JobKind, Counter[str]] = {}
    for field, value in zip(fields[::2], fields[1::2], strict=False):
        queue, _, rest = field.decode("utf-8", "replace").partition("|")
        job, bar, outcome = rest.rpartition("|")
        if bar and value.isdigit():
            counts.setdefault(JobKind(queue, job), Counter())[outcome] += int(value)
    return counts


def read_outcomes(execute: Execute, minutes: int) -> dict[JobKind, Counter[str]]:
    """Return the counts by outcome for each kind of job, summed over the last `minutes`.

    The current minute is included; the most is KEPT_MINUTES. Minutes are by Redis's clock,
    here and in the workers. Takes three or four round trips. Raises RedisError, also if Redis
    takes no writes: then runs are not counted.
    """
    clock, newest = execute(NEWEST_HEARTBEAT)
    if refusal := read_state(execute, has_fresh_heartbeats(clock, newest)).refusal:
        raise RedisError(describe_refusal(refusal), refusal)
    now = int(parse_time(clock)) // 60
    span = range(now - max(1, min(minutes, KEPT_MINUTES)) + 1, now + 1)
    total: dict[JobKind, Counter[str]] = {}
    for fields in execute([("HGETALL", outcomes_key(minute)) for minute in span]):
        for kind, counts in parse_outcomes(fields).items():
            total.setdefault(kind, Counter()).update(counts)
    return total
