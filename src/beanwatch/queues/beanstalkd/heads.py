"""The first jobs of tubes: `peek-ready`, `peek-buried` and `stats-job`, within bounds."""

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

# A peek carries the whole body of the job over the network, and each `use` makes the server look
# through all its tubes. These bound what one reading may cost.
MAX_BYTES = 8 * 1024 * 1024
MAX_HEADS = 1000
CHUNK = 50


class Peek(NamedTuple):
    """A question: the first job in which state, `ready` or `buried`, of which tube."""

    tube: str
    state: str


class Heads(NamedTuple):
    """The answers: `stats-job` of each head; {} where no job was there any more.

    `left` are the questions for which there was no room.
    """

    jobs: dict[Peek, Stats]
    left: Sequence[Peek] = ()


def read_heads(
    link: QueryConnection, peeks: Sequence[Peek], max_job_size: int, max_bytes: int = MAX_BYTES
) -> Heads:
    """Ask for MAX_HEADS heads, or until `max_bytes` of bodies have arrived. Raises ServerError.

    `use` is the only way to a tube's head. It creates a missing tube, so only tubes that were
    just seen may be asked for; afterwards `default` is used again.
    """
    if max_job_size > MAX_BODY:
        return Heads({}, peeks)
    ids: dict[Peek, bytes] = {}
    size = done = 0
    # Bodies are rarely as large as the server allows, but the bound must hold all the same.
    chunk = max(1, min(CHUNK, max_bytes // max(1, max_job_size)))
    while done < min(len(peeks), MAX_HEADS) and size < max_bytes:
        asked = peeks[done : done + chunk]
        for question, reply in _ask(link, asked):
            size += len(reply.body)
            if reply.word == b"FOUND" and is_job_id(reply.args[0]):
                ids[question] = reply.args[0]
        done += len(asked)
    if peeks:
        link.ask_one(USE_DEFAULT)
    jobs = dict(zip(ids, read_jobs(link, list(ids.values())), strict=True))
    still = {question: job for question, job in jobs.items() if _is_still(question, job)}
    return Heads({question: still.get(question, {}) for question in peeks[:done]}, peeks[done:])


def read_jobs(link: QueryConnection, ids: Sequence[bytes]) -> Iterator[Stats]:
    """`stats-job` of each id, pipelined; {} for a job that is gone. Raises ServerError.

    The job's `id` in it is text.
    """
    commands = list(map(stats_job, ids))
    for job_id, command, reply in zip(ids, commands, link.stream(commands), strict=False):
        if reply.word == b"NOT_FOUND":
            yield {}
            continue
        job = parse_stats(body_of(link, command, reply))
        # Another job's facts would be a lie about this one.
        yield job if job.get("id") == job_id.decode() else {}


def waited(job: Stats) -> float | None:
    """Seconds that a ready job has been ready, None if only looks over time can tell.

    beanstalkd's `age` counts from the put. Less the delay, that is the wait of a job which was
    never reserved nor kicked. Of any other job it would be its whole life.
    """
    if count_of(job, "reserves") or count_of(job, "kicks"):
        return None
    return float(max(0, count_of(job, "age") - count_of(job, "delay")))


def is_job_id(text: bytes) -> bool:
    """True for a number that may be a job's id (64 bits)."""
    return text.isdigit() and len(text) <= ID_DIGITS


def _ask(link: QueryConnection, peeks: Sequence[Peek]) -> Iterator[tuple[Peek, Reply]]:
    commands = []
    for question in peeks:
        commands += [use(question.tube), peek(question.state)]
    for number, reply in enumerate(link.stream(commands)):
        if number % 2:
            yield peeks[number // 2], reply


def _is_still(question: Peek, job: Stats) -> bool:
    # A worker may have taken it between the peek and the stats: then nothing is known of it.
    return job.get("state") == question.state and job.get("tube") == question.tube
