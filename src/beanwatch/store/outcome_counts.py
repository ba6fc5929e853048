"""Counts of how jobs ended, by the minute: their keys in Redis, and how they are read."""

from collections import Counter
from typing import NamedTuple

from beanwatch.net.redis_url import Execute

KEPT_MINUTES = 120


class JobKind(NamedTuple):
    """A queue and the name of a job in it; `unknown` for jobs without a registered handler."""

    queue: str
    job: str


def outcomes_key(minute: int) -> str:
    """The key of the counts of one minute (seconds since the epoch // 60): a hash."""
    return f"beanwatch:outcomes:{minute}"


def outcome_field(queue: str, job: str, outcome: str) -> str:
    """The field of one count. A queue's name and an outcome never hold a `|`; a job's may."""
    return f"{queue}|{job}|{outcome}"


def parse_outcomes(fields: list[bytes]) -> dict[JobKind, Counter[str]]:
    """Counts by outcome for each kind of job, from one HGETALL. Other fields are left out."""
    counts: dict[JobKind, Counter[str]] = {}
    for field, value in zip(fields[::2], fields[1::2], strict=False):
        queue, _, rest = field.decode("utf-8", "replace").partition("|")
        job, bar, outcome = rest.rpartition("|")
        if bar and value.isdigit():
            counts.setdefault(JobKind(queue, job), Counter())[outcome] += int(value)
    return counts


def read_outcomes(execute: Execute, minutes: int) -> dict[JobKind, Counter[str]]:
    """The sums over the last `minutes` (at most KEPT_MINUTES), the running one included.

    Two round trips. Raises RedisError. Minutes are those of Redis's clock; a worker whose clock
    is off by some seconds counts into the minute beside it.
    """
    ((seconds, _),) = execute([("TIME",)])
    now = int(seconds) // 60
    span = range(now - max(1, min(minutes, KEPT_MINUTES)) + 1, now + 1)
    total: dict[JobKind, Counter[str]] = {}
    for fields in execute([("HGETALL", outcomes_key(minute)) for minute in span]):
        for kind, counts in parse_outcomes(fields).items():
            total.setdefault(kind, Counter()).update(counts)
    return total
