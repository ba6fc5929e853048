"""Read the first jobs of tubes by `peek-ready`, `peek-buried` and `stats-job`, within limits."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from beanwatch.queues.beanstalkd.connection import QueryConnection, body_of
from beanwatch.queues.beanstalkd.protocol import (
    ID_DIGITS,
    MAX_BODY,
    USE_DEFAULT,
    Reply,
    peek,
    stats_job,
    use,
)
from beanwatch.queues.beanstalkd.stats import Stats, count_of, parse_stats

# The cost of one reading is limited: a peek sends the whole body of the job over the network, and
# for each `use` the server searches all its tubes.
MAX_BYTES = 8 * 1024 * 1024
MAX_HEADS = 1000
CHUNK = 50  # peeks sent at once, with a `use` each


class Peek(NamedTuple):
    """A query for the first job of a tube in a state, `ready` or `buried`."""

    tube: str
    state: str


class Heads(NamedTuple):
    """The results: `stats-job` of each head; {} if there was no such job any more.

    `left` are the queries that were not sent because a limit was reached.
    """

    jobs: dict[Peek, Stats]
    left: Sequence[Peek] = ()


def read_heads(
    link: QueryConnection, peeks: Sequence[Peek], max_job_size: int, max_bytes: int = MAX_BYTES
) -> Heads:
    """Read up to MAX_HEADS heads, until `max_bytes` of bodies have arrived. Raises ServerError.

    `max_job_size` (bytes) is the server's limit for a body. A peek needs `use`, which creates a
    tube that does not exist. So pass only tubes of the present reading; afterwards `default` is
    used again.
    """
    if max_job_size > MAX_BODY:
        return Heads({}, peeks)
    ids: dict[Peek, bytes] = {}
    size = done = 0
    # Bodies are rarely as large as the server allows, but the limit must hold even then.
    chunk = max(1, min(CHUNK, max_bytes // max(1, max_job_size)))
    while done < min(len(peeks), MAX_HEADS) and size < max_bytes:
        asked = peeks[done : done + chunk]
        for query, reply in _ask(link, asked):
            size += len(reply.body)
            if reply.word == b"FOUND" and is_job_id(reply.args[0]):
                ids[query] = reply.args[0]
        done += len(asked)
    if peeks:
        link.ask_one(USE_DEFAULT)
    jobs = dict(zip(ids, read_jobs(link, list(ids.values())), strict=True))
    found = {query: job for query, job in jobs.items() if _is_still_head(query, job)}
    return Heads({query: found.get(query, {}) for query in peeks[:done]}, peeks[done:])


def read_jobs(link: QueryConnection, ids: Sequence[bytes]) -> Iterator[Stats]:
    """Yield `stats-job` of each id, pipelined; {} for a job that is gone. Raises ServerError.

    The field `id` is text.
    """
    commands = list(map(stats_job, ids))
    for job_id, command, reply in zip(ids, commands, link.stream(commands), strict=False):
        if reply.word == b"NOT_FOUND":
            yield {}
            continue
        job = parse_stats(body_of(link, command, reply))
        # Ignore a reply about another job.
        yield job if job.get("id") == job_id.decode() else {}


def waited(job: Stats) -> float | None:
    """Seconds that a ready job has been ready; None if one `stats-job` does not tell.

    beanstalkd's `age` starts at the put. For a job that was never reserved or kicked, the age minus
    the delay is its wait. For any other job it includes earlier runs.
    """
    if count_of(job, "reserves") or count_of(job, "kicks"):
        return None
    return float(max(0, count_of(job, "age") - count_of(job, "delay")))


def is_job_id(text: bytes) -> bool:
    """True for decimal digits that may be a job's id (64 bits)."""
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
