"""The jobs at the heads of queues: `peek-ready`, `peek-buried` and `stats-job`, within bounds."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from beanwatch.collectors.protocol import MAX_BODY, Link, Reply
from beanwatch.collectors.stats import Stats, read_jobs

# What a sweep may cost: a peek carries the whole body of the job over the network, and each
# `use` makes the server look through all its tubes.
MAX_BYTES = 8 * 1024 * 1024
MAX_HEADS = 1000
MOST_AT_ONCE = 50


class Peek(NamedTuple):
    """A question: the head of which queue, `ready` or `buried`, of which tube."""

    tube: str
    queue: str


class Heads(NamedTuple):
    """The answers: `stats-job` of each head; {} where the queue was empty by then.

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
            if reply.word == b"FOUND" and reply.args:
                ids[peek] = reply.args[0]
        done += len(asked)
    if peeks:
        link.ask_one(b"use default")
    jobs = dict(zip(ids, read_jobs(link, list(ids.values())), strict=True))
    found = {peek: _still(peek, jobs.get(peek, {})) for peek in peeks[:done]}
    return Heads(found, peeks[done:])


def _ask(link: Link, peeks: Sequence[Peek]) -> Iterator[tuple[Peek, Reply]]:
    commands = []
    for peek in peeks:
        commands += [b"use " + peek.tube.encode(), b"peek-" + peek.queue.encode()]
    for number, reply in enumerate(link.stream(commands)):
        if number % 2:
            yield peeks[number // 2], reply


def _still(peek: Peek, job: Stats) -> Stats:
    # Taken by a worker between the peek and the stats: then there is nothing to say of it.
    return job if job.get("state") == peek.queue and job.get("tube") == peek.tube else {}
