"""The jobs at the heads of queues: `peek-ready`, `peek-buried` and `stats-job`, within bounds."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from beanwatch.queues.beanstalkd.connection import MAX_BODY, Link, Reply
from beanwatch.queues.beanstalkd.stats import Stats, read_jobs

# What a sweep may cost: a peek carries the whole body of the job over the network, and each
# `use` makes the server look through all its tubes.
MAX_BYTES = 8 * 1024 * 1024
MAX_HEADS = 1000
MOST_AT_ONCE = 50
DIGITS = 20  # of a job's id, which has 64 bits


class Peek(NamedTuple):
    """A question: the head of which queue, `ready` or `buried`, of which tube."""

    tube: str
    queue: str


class Heads(NamedTuple):
    """The answers: `stats-job` of each head, its id a number; {} where the queue was empty by then.

    `left` are the questions for which there was no room.
    """

    jobs: dict[Peek, Stats]
    left: Sequence[Peek] = ()


def read_heads(
    link: Link, peeks: Sequence[Peek], max_job_size: int, max_bytes: int = MAX_BYTES
) -> Heads:
    """Ask for MAX_HEADS heads, or until `max_bytes` of bodies have come. Raises ServerError.

    `use` is the only way to a tube's head. It makes a missing tube, so that only tubes
    that were just seen may be asked for; afterwards `default` is used again.
    """
    if max_job_size > MAX_BODY:
        return Heads({}, peeks)
    ids: dict[Peek, bytes] = {}
    size = done = 0
    # What a server allows is rarely what it holds, but the bound must hold all the same.
    chunk = max(1, min(MOST_AT_ONCE, max_bytes // max(1, max_job_size)))
    while done < min(len(peeks), MAX_HEADS) and size < max_bytes:
        asked = peeks[done : done + chunk]
        for peek, reply in _ask(link, asked):
            size += len(reply.body)
            if reply.word == b"FOUND" and reply.args[0].isdigit() and len(reply.args[0]) <= DIGITS:
                ids[peek] = reply.args[0]
        done += len(asked)
    if peeks:
        link.ask_one(b"use default")
    jobs = dict(zip(ids, read_jobs(link, list(ids.values())), strict=True))
    still = {peek: job for peek, job in jobs.items() if _is_still(peek, ids[peek], job)}
    return Heads({peek: still.get(peek, {}) for peek in peeks[:done]}, peeks[done:])


def _ask(link: Link, peeks: Sequence[Peek]) -> Iterator[tuple[Peek, Reply]]:
    commands = []
    for peek in peeks:
        commands += [b"use " + peek.tube.encode(), b"peek-" + peek.queue.encode()]
    for number, reply in enumerate(link.stream(commands)):
        if number % 2:
            yield peeks[number // 2], reply


def _is_still(peek: Peek, job: bytes, stats: Stats) -> bool:
    # Taken by a worker between the peek and the stats: then there is nothing to say of it.
    return (
        stats.get("id") == job.decode()
        and stats.get("state") == peek.queue
        and stats.get("tube") == peek.tube
    )
