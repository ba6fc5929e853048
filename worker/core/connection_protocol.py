"""beanstalkd's commands and replies as the worker uses them: bytes in, bytes out, no socket.

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
# NOT_FOUND: the time to run was over, and the server gave the job away.
ACKNOWLEDGED = frozenset((b"DELETED", b"RELEASED", b"BURIED", b"NOT_FOUND"))

Action = Literal["delete", "release", "bury"]


class Reserved(Struct, frozen=True):
    """A job as `reserve` hands it out."""

    id: int
    body: bytes


class JobStats(Struct, frozen=True):
    """The fields of `stats-job` that the worker needs. Times are whole seconds."""

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
    """Watch these queues and no other, and ask for the list and for the server's statistics."""
    commands = [b"watch " + queue.encode() for queue in queues]
    if "default" not in queues:  # which every connection watches at first
        commands.append(b"ignore default")
    return b"\r\n".join((*commands, b"list-tubes-watched", b"stats", b""))


def encode_reserve(timeout: float) -> bytes:
    """Wait up to `timeout` seconds for a job: whole seconds, and at least 1, as 0 would spin."""
    return b"reserve-with-timeout %d\r\n" % max(1, round(timeout))


def encode_use(queue: bytes) -> bytes:
    """Put into this queue from now on."""
    return b"use %b\r\n" % queue


def encode_put(body: bytes, priority: int, delay: int, ttr: int) -> bytes:
    """Put a job; `delay` and `ttr` in seconds."""
    return b"put %d %d %d %d\r\n%b\r\n" % (priority, delay, ttr, len(body), body)


def encode_job_stats(job_id: int) -> bytes:
    """Ask for the statistics of a job."""
    return b"stats-job %d\r\n" % job_id


def encode_touch(job_id: int) -> bytes:
    """Start the job's time to run anew."""
    return b"touch %d\r\n" % job_id


def encode_end(action: Action, job_id: int, priority: int, delay: float) -> bytes:
    """Delete, release or bury a job. Without its priority a released job would get another.

    beanstalkd counts the delay in whole seconds. Round up: rounding down would undo the jitter for
    short delays.
    """
    if action == "delete":
        return b"delete %d\r\n" % job_id
    if action == "bury":
        return b"bury %d %d\r\n" % (job_id, priority)
    return b"release %d %d %d\r\n" % (job_id, priority, math.ceil(delay))


def parse_reserve(line: bytes) -> tuple[int, bytes] | None:
    """The job's id and the size of its body; None if no job came. Raises BadReplyError.

    DEADLINE_SOON is an error too: it is about a job that we do not know of.
    """
    word, _, numbers = line.partition(b" ")
    if word == b"RESERVED":
        job_id, _, size = numbers.partition(b" ")
        return int(job_id), size
    if word == b"TIMED_OUT":
        return None
    raise unexpected_reply(line)


def parse_inserted(line: bytes) -> int:
    """The id of a job that was put. Raises BadReplyError.

    BURIED is an error too: the server could not queue the job, and nobody will run it.
    """
    word, _, job_id = line.partition(b" ")
    if word != b"INSERTED":
        raise unexpected_reply(line)
    return int(job_id)


def parse_job_stats(body: bytes, job_id: int) -> JobStats:
    """Read the reply to `stats-job`.

    Raises KeyError for a missing field, ValueError for a wrong one or another job's statistics. One
    call with each field in place, because this runs for every job: a loop takes a third longer.
    """
    words = body.split()  # `---`, then a name and a value a line
    fields = dict(zip(words[1::2], words[2::2], strict=True))
    stats = JobStats(
        id=int(fields[b"id:"]),
        queue=fields[b"tube:"].strip(b'"').decode(),  # quoted from 1.13 on
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
        raise BadReplyError(f"it was asked about job {job_id} and answered about job {stats.id}")
    return stats


def unexpected_reply(line: bytes) -> BadReplyError:
    """The error for a reply that does not fit its command."""
    return BadReplyError(f"it answered {quote_answer(line[:40])}")
