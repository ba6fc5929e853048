"""Encodes the commands that the worker sends to beanstalkd, and parses the replies. No sockets.

Source: beanstalkd's doc/protocol.txt, "Producer Commands" and "Worker Commands".
"""

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from beanwatch.net.errors import quote_answer
from beanwatch.worker.core.line_socket import BadReplyError

RESERVE = b"reserve\r\n"
RESERVE_NOW = b"reserve-with-timeout 0\r\n"
PUT_REFUSALS = frozenset((b"JOB_TOO_BIG", b"DRAINING", b"OUT_OF_MEMORY"))
# NOT_FOUND means that the TTR had passed, so this worker did not hold the job any more.
ACKNOWLEDGED = frozenset((b"DELETED", b"RELEASED", b"BURIED", b"NOT_FOUND"))

Action = Literal["delete", "release", "bury"]


class Reserved(Struct, frozen=True):
    """Holds the id and body of a job that beanstalkd has reserved for this worker."""

    id: int
    body: bytes


class JobStats(Struct, frozen=True):
    """Holds the fields of a reply to `stats-job` that the worker needs.

    `age`, `delay` and `ttr` are whole seconds; `reserves` and the rest are counters.
    """

    id: int
    queue: str
    priority: int
    age: int
    delay: int
    ttr: int
    reserves: int
    releases: int
    buries: int
    kicks: int


def encode_open(queues: Sequence[str]) -> bytes:
    """Return the commands that watch exactly `queues`, then list them and ask for `stats`."""
    commands = [b"watch " + queue.encode() for queue in queues]
    if "default" not in queues:  # a new connection watches it
        commands.append(b"ignore default")
    return b"\r\n".join((*commands, b"list-tubes-watched", b"stats", b""))


def encode_reserve(timeout: float) -> bytes:
    """Return the command that waits up to `timeout` seconds for a job.

    The timeout is rounded to whole seconds, at least 1: with 0 the worker would never pause.
    """
    return b"reserve-with-timeout %d\r\n" % max(1, round(timeout))


def encode_use(queue: bytes) -> bytes:
    """Return the command that selects the queue into which later commands put jobs."""
    return b"use %b\r\n" % queue


def encode_put(body: bytes, priority: int, delay: int, ttr: int) -> bytes:
    """Return the command that puts a job; `delay` and `ttr` are whole seconds."""
    return b"put %d %d %d %d\r\n%b\r\n" % (priority, delay, ttr, len(body), body)


def encode_job_stats(job_id: int) -> bytes:
    """Return the command that asks for a job's statistics."""
    return b"stats-job %d\r\n" % job_id


def encode_queue_stats(queue: bytes) -> bytes:
    """Return the command that asks for a queue's statistics."""
    return b"stats-tube %b\r\n" % queue


def encode_touch(job_id: int) -> bytes:
    """Return the command that restarts a job's TTR."""
    return b"touch %d\r\n" % job_id


def encode_end(action: Action, job_id: int, priority: int, delay: float) -> bytes:
    """Return the command that deletes, releases (after `delay` seconds) or buries a job.

    A release and a bury set the job's priority, so pass its current one. beanstalkd takes whole
    seconds; the delay is rounded up, because rounding down would undo the jitter of short delays.
    """
    if action == "delete":
        return b"delete %d\r\n" % job_id
    if action == "bury":
        return b"bury %d %d\r\n" % (job_id, priority)
    return b"release %d %d %d\r\n" % (job_id, priority, math.ceil(delay))


def parse_reserve(line: bytes) -> tuple[int, bytes] | None:
    """Return the job's id and the size of its body (ASCII digits); None for TIMED_OUT.

    Raises BadReplyError for any other reply. This includes DEADLINE_SOON: it means that this
    connection holds a job that the worker does not know.
    """
    word, _, numbers = line.partition(b" ")
    if word == b"RESERVED":
        job_id, _, size = numbers.partition(b" ")
        return int(job_id), size
    if word == b"TIMED_OUT":
        return None
    raise unexpected_reply(line)


def parse_inserted(line: bytes) -> int:
    """Return the id of the job that was put.

    Raises BadReplyError for any other reply. This includes BURIED: the server had no memory to
    queue the job, so no worker would run it.
    """
    word, _, job_id = line.partition(b" ")
    if word != b"INSERTED":
        raise unexpected_reply(line)
    return int(job_id)


def parse_job_stats(body: bytes, job_id: int) -> JobStats:
    """Parse the body of a reply to `stats-job`.

    Raises KeyError for a missing field, and ValueError for a field that cannot be parsed or for
    the statistics of another job. This runs for every job, so each field is written out: a loop
    takes a third longer.
    """
    words = body.split()  # YAML: `---`, then one `name: value` per line
    fields = dict(zip(words[1::2], words[2::2], strict=True))
    stats = JobStats(
        id=int(fields[b"id:"]),
        queue=fields[b"tube:"].strip(b'"').decode(),  # beanstalkd 1.13 and later quote it
        priority=int(fields[b"pri:"]),
        age=int(fields[b"age:"]),
        delay=int(fields[b"delay:"]),
        ttr=int(fields[b"ttr:"]),
        reserves=int(fields[b"reserves:"]),
        releases=int(fields[b"releases:"]),
        buries=int(fields[b"buries:"]),
        kicks=int(fields[b"kicks:"]),
    )
    if stats.id != job_id:
        raise BadReplyError(
            f"stats-job asked about job {job_id}, but the server answered about job {stats.id}"
        )
    return stats


def unexpected_reply(line: bytes) -> BadReplyError:
    """Return the exception for a reply that does not fit its command."""
    return BadReplyError(f"the server sent an unexpected reply: {quote_answer(line[:40])}")
