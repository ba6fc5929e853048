"""Records in Redis of runs that started and that beanstalkd never saw end.

beanstalkd counts how often it handed a job out. That is not how often the job ran: the connection
of a worker that lost its power stays open for a while, and takes jobs that nobody runs.
"""

from collections.abc import Collection

from beanwatch.net.redis_url import KEY_PREFIX, Execute
from beanwatch.store.bounded_keys import trim_command

# A sorted set of the keys below; the score is the time of the last start.
STARTED_INDEX = f"{KEY_PREFIX}started"
STARTED_EXPIRY = 7 * 86400  # seconds after the last start of a run of the job
STARTED_KEPT = 10_000  # jobs with a record; the ones that started first are removed


def started_key(server: str, job_id: int) -> str:
    """Return the key of a job's started runs: a set of `reserves`, the numbers of the deliveries.

    `server` identifies the process of the beanstalkd, as job ids restart at 1 with it.
    """
    return f"{KEY_PREFIX}started:{server}:{job_id}"


def record_start(
    execute: Execute,
    server: str,
    job_id: int,
    delivery: int,
    now: float,
    known: Collection[int] = (),
) -> int:
    """Record that a run of a job starts; return how many other runs of it are recorded.

    `delivery` is the job's `reserves` in this run, and `known` those of earlier runs, which are
    recorded too. Recording one again changes nothing. `now` is in seconds since the epoch, by
    Redis's clock. Takes one round trip. Raises RedisError.
    """
    key = started_key(server, job_id)
    *_, count = execute(
        [
            ("SADD", key, delivery, *known),
            ("EXPIRE", key, STARTED_EXPIRY),
            ("ZADD", STARTED_INDEX, now, key),
            trim_command(STARTED_INDEX, STARTED_KEPT, 100),
            ("SCARD", key),
        ]
    )
    return int(count) - 1


def forget_start(execute: Execute, server: str, job_id: int, delivery: int) -> None:
    """Remove the record of a start, because the run was acknowledged. Raises RedisError."""
    execute([("SREM", started_key(server, job_id), delivery)])
