"""What an operator does to a tube: kick, empty, pause; in steps, so that progress can be shown."""

from collections.abc import Iterator, Sequence

from beanwatch.queues.beanstalkd.connection import BATCH, Link, ProtocolError, Reply
from beanwatch.queues.beanstalkd.stats import count_of, read_jobs, read_tubes

# Jobs kicked with one command: short enough for the server to serve others in between.
KICK_STEP = 1000
PAUSE_MOST = 2**31  # seconds; beanstalkd reads an unsigned 32-bit number


def kick(link: Link, tube: str, count: int) -> Iterator[int]:
    """Kick up to `count` buried jobs, the longest buried first; yields how many each step kicked.

    `kick` takes delayed jobs when no buried one is left, and others kick too: so each step
    looks first how many are buried, and kicks no more.
    """
    _use(link, tube)
    while count > 0:
        link.extend()
        stats = dict(read_tubes(link, [tube])).get(tube, {})
        step = min(count, KICK_STEP, count_of(stats, "current-jobs-buried"))
        if not step:
            return
        reply = _expect(link, link.ask_one(b"kick %d" % step), b"KICKED")
        kicked = int(reply.args[0])
        yield kicked
        count -= kicked


def empty(link: Link, tube: str, queue: str, count: int) -> Iterator[int]:
    """Delete up to `count` jobs of a queue (ready, delayed, buried); yields 1 for each.

    Head by head: a job that a worker takes meanwhile is the worker's, and is left alone.
    """
    _use(link, tube)
    peek = f"peek-{queue}".encode()
    reply = link.ask_one(peek)
    while count > 0 and reply.word == b"FOUND":
        link.extend()
        # One round trip a job: it is deleted, and the next one looked at.
        deleted, reply = link.ask([b"delete " + reply.args[0], peek])
        if deleted.word == b"DELETED":
            count -= 1
            yield 1


def find_still_buried(link: Link, tube: str, ids: Sequence[int]) -> list[int]:
    """Those of the jobs that are buried in this tube now; a ledger may be behind."""
    numbers = [b"%d" % number for number in ids]
    return [
        number
        for number, job in zip(ids, read_jobs(link, numbers), strict=True)
        if job.get("state") == "buried" and job.get("tube") == tube
    ]


def act_by_id(link: Link, tube: str, ids: Sequence[int], verb: bytes) -> Iterator[int]:
    """`kick-job` or `delete` those that are buried there; yields how many for each batch."""
    for start in range(0, len(ids), BATCH):
        link.extend()
        still = find_still_buried(link, tube, ids[start : start + BATCH])
        replies = link.ask([verb + b" %d" % number for number in still])
        yield sum(reply.word in (b"KICKED", b"DELETED") for reply in replies)


def pause(link: Link, tube: str, seconds: int) -> bool:
    """Let nobody reserve from a tube for that long (0: resume); false if there is no such tube."""
    reply = link.ask_one(b"pause-tube %s %d" % (tube.encode(), min(seconds, PAUSE_MOST)))
    if reply.word == b"NOT_FOUND":
        return False
    _expect(link, reply, b"PAUSED")
    return True


def _use(link: Link, tube: str) -> None:
    _expect(link, link.ask_one(b"use " + tube.encode()), b"USING")


def _expect(link: Link, reply: Reply, word: bytes) -> Reply:
    if reply.word != word:
        raise ProtocolError(
            f"{link.address}: expected {word.decode()}, was answered {reply.word.decode()}"
        )
    return reply
