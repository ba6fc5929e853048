"""Read the heads of tubes, which are their first ready and their first buried job."""

from collections.abc import Iterator, Sequence

from beanwatch.light_typing import NamedTuple
from beanwatch.net.errors import quote_answer
from beanwatch.queues.beanstalkd.connection import QueryConnection, body_of
from beanwatch.queues.beanstalkd.protocol import (
    ID_DIGITS,
    MAX_JOB,
    USE_DEFAULT,
    Reply,
    peek,
    stats_job,
    use,
)
from beanwatch.queues.beanstalkd.stats import Stats, known_count, parse_stats

# Limits for one reading, since heads are expensive: the reply to a peek has the whole body of the
# job, and for each `use` the server searches all its tubes.
MAX_BYTES = 8 * 1024 * 1024  # of all bodies
MAX_HEADS = 1000
SMALL_BODY = 65_535  # bytes; by default beanstalkd allows no larger body
GROWN_CHUNK = 10
CHUNK = 50  # peeks that are sent at once, each with its `use`


class Peek(NamedTuple):
    """A query for the first job of a tube that is in a state: `ready` or `buried`."""

    tube: str
    state: str


class Heads(NamedTuple):
    """The first jobs that `read_heads` found.

    `jobs` has the fields of `stats-job` for each query, {} if the tube had no such job any more.
    `left` are the queries that were not sent because a limit was reached. `implausible` has a text
    for each reply that cannot be right, and was ignored.
    """

    jobs: dict[Peek, Stats]
    left: Sequence[Peek] = ()
    implausible: Sequence[str] = ()


def read_heads(
    link: QueryConnection, peeks: Sequence[Peek], max_job_size: int, max_bytes: int = MAX_BYTES
) -> Heads:
    """Read at most MAX_HEADS heads, until `max_bytes` of bodies have arrived. Raises ServerError.

    `max_job_size` (bytes) is the server's limit for a body; if it is above MAX_JOB, it cannot be
    right, and no head is read. Each peek needs `use`, which creates a tube that does not exist. So
    pass only tubes that were just listed. Afterwards the connection uses `default` again.
    """
    if max_job_size > MAX_JOB:
        return Heads({}, peeks)
    ids: dict[Peek, bytes] = {}
    implausible: list[str] = []
    size = done = 0
    # A chunk of the largest bodies must not exceed `max_bytes`. But bodies are rarely so large: ask
    # for more at once while those that arrive are small, up to GROWN_CHUNK.
    safe = chunk = max(1, min(CHUNK, max_bytes // max(1, max_job_size)))
    while done < min(len(peeks), MAX_HEADS) and size < max_bytes:
        asked = peeks[done : done + chunk]
        largest = 0
        for query, reply in _ask(link, asked):
            if reply.word != b"FOUND":
                continue
            given = reply.args[1] if len(reply.args) > 1 else b""
            found_size = int(given) if given.isdigit() else 0
            size += found_size
            largest = max(largest, found_size)
            if is_job_id(reply.args[0]):
                ids[query] = reply.args[0]
            else:
                implausible.append(
                    f"{query.tube}: the id of its first {query.state} job is "
                    f"{quote_answer(reply.args[0][:30])}, which is not a number"
                )
        done += len(asked)
        grown = min(2 * chunk, max(safe, min(CHUNK, GROWN_CHUNK)))
        chunk = grown if largest <= SMALL_BODY else safe
    if peeks:
        link.ask_one(USE_DEFAULT)
    jobs = dict(zip(ids, read_jobs(link, list(ids.values()), implausible), strict=True))
    found = {query: job for query, job in jobs.items() if _is_still_head(query, job)}
    heads = {query: found.get(query, {}) for query in peeks[:done]}
    return Heads(heads, peeks[done:], implausible)


def read_jobs(
    link: QueryConnection, ids: Sequence[bytes], implausible: list[str] | None = None
) -> Iterator[Stats]:
    """Yield the fields of `stats-job` for each id; {} for a job that does not exist any more.

    The commands are pipelined. The field `id` is a text. A reply about another job counts as {},
    and a text about it is added to `implausible`. Raises ServerError.
    """
    commands = list(map(stats_job, ids))
    for job_id, command, reply in zip(ids, commands, link.stream(commands), strict=False):
        if reply.word == b"NOT_FOUND":
            yield {}
            continue
        job = parse_stats(body_of(link, command, reply))
        if job.get("id") == job_id.decode():
            yield job
            continue
        if implausible is not None:
            told = repr(str(job.get("id", ""))[:30])
            implausible.append(f"server: it described job {told} instead of {job_id.decode()}")
        yield {}


def ready_seconds(job: Stats) -> float | None:
    """Return for how many seconds a ready job has been ready; None if that cannot be computed.

    beanstalkd's `age` counts from the put. For a job that was never reserved or kicked, the result
    is the age minus the delay. For any other job the age includes earlier runs, so it is of no use.
    """
    reserves, kicks, age, delay = (
        known_count(job, field) for field in ("reserves", "kicks", "age", "delay")
    )
    if reserves != 0 or kicks != 0 or age is None or delay is None:
        return None
    return float(max(0, age - delay))


def is_job_id(text: bytes) -> bool:
    """Return True for 1 to 20 decimal digits, which may be a job's id (64 bits)."""
    return text.isdigit() and len(text) <= ID_DIGITS


def _ask(link: QueryConnection, peeks: Sequence[Peek]) -> Iterator[tuple[Peek, Reply]]:
    commands = []
    for query in peeks:
        commands += [use(query.tube), peek(query.state)]
    for number, reply in enumerate(link.stream(commands)):
        if number % 2:
            yield peeks[number // 2], reply


def _is_still_head(query: Peek, job: Stats) -> bool:
    # False if a worker took the job between `peek-...` and `stats-job`.
    return job.get("state") == query.state and job.get("tube") == query.tube
