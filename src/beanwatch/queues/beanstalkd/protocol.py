"""beanstalkd's protocol (its `doc/protocol.txt`), as functions of bytes: no socket is used here.

Commands have no line end; the connection adds it. `ReplyBuffer` turns received bytes into replies.
"""

from functools import lru_cache
from typing import NamedTuple

from beanwatch.net.errors import quote_answer

# A longer line is not beanstalkd's: a tube's name has at most 200 bytes.
MAX_LINE = 1024
# The list of 100,000 tubes with the longest names is smaller.
MAX_BODY = 32 * 1024 * 1024
MAX_TUBE_NAME = 200
TUBE_NAME_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+/;.$_()"
)
ID_DIGITS = 20  # of a job's id, which has 64 bits
WITH_BODY = frozenset((b"OK", b"FOUND", b"RESERVED"))
WORDS = WITH_BODY | frozenset(
    b"INSERTED BURIED KICKED WATCHING USING PAUSED DELETED RELEASED TOUCHED NOT_FOUND NOT_IGNORED "
    b"TIMED_OUT DEADLINE_SOON DRAINING EXPECTED_CRLF JOB_TOO_BIG OUT_OF_MEMORY INTERNAL_ERROR "
    b"BAD_FORMAT UNKNOWN_COMMAND".split()
)

STATS, LIST_TUBES, USE_DEFAULT = b"stats", b"list-tubes", b"use default"


def stats_tube(name: str) -> bytes:
    """The numbers of one tube ("Other Commands"). NOT_FOUND if it does not exist."""
    return b"stats-tube " + name.encode()


def stats_job(job_id: bytes) -> bytes:
    """The facts of one job, also of a reserved one. NOT_FOUND if it is gone."""
    return b"stats-job " + job_id


def use(name: str) -> bytes:
    """Let `peek-...` mean this tube. It creates a tube that does not exist."""
    return b"use " + name.encode()


def peek(state: str) -> bytes:
    """The first job of the used tube in this state (ready, delayed, buried), with its body."""
    return b"peek-" + state.encode()


@lru_cache(20_000)  # the names of a server are looked at twice in each reading
def is_tube_name(name: str) -> bool:
    """True for a name that a tube can have ("Tubes"): 1 to 200 of these bytes, no hyphen first."""
    is_short = 0 < len(name) <= MAX_TUBE_NAME
    return is_short and name[0] != "-" and TUBE_NAME_CHARACTERS.issuperset(name)


class NonsenseError(ValueError):
    """Bytes that beanstalkd does not send; the text quotes them."""


class Reply(NamedTuple):
    """One answer: its first word, the words after it, and the body of those that have one."""

    word: bytes
    args: tuple[bytes, ...] = ()
    body: bytes = b""


class ReplyBuffer:
    """Received bytes, taken out as replies. After a NonsenseError it must not be used again."""

    def __init__(self) -> None:
        self._data = b""
        self._start = 0  # what is before it was taken out
        self._parts: list[bytes] = []  # of a body that is still coming
        self._missing = 0  # bytes until that body is complete

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if self._missing > 0:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            self._data, self._start, self._parts = b"".join(self._parts), 0, []
        elif self._start == len(self._data):
            self._data, self._start = data, 0
        else:
            self._data, self._start = self._data[self._start :] + data, 0

    def next(self) -> Reply | None:
        """The next reply, or None until more bytes are fed. Raises NonsenseError."""
        if self._missing > 0:
            return None
        data, start = self._data, self._start
        end = data.find(b"\r\n", start, start + MAX_LINE + 2)
        if end < 0:
            if len(data) - start >= MAX_LINE + 2:
                raise _nonsense(data[start : start + 40])
            return None
        word, args, size = _read_line(data[start:end])
        if size is None:
            self._start = end + 2
            return Reply(word, args)
        body, stop = end + 2, end + 2 + size
        if len(data) < stop + 2:
            # From the line on, so that the reply is read as a whole once its body is there.
            self._parts = [data[start:]]
            self._missing = stop + 2 - len(data)
            return None
        if data[stop : stop + 2] != b"\r\n":
            raise _nonsense(data[body:stop][-40:])
        self._start = stop + 2
        return Reply(word, args, data[body:stop])


@lru_cache(256)  # those of many tubes are alike
def _read_line(line: bytes) -> tuple[bytes, tuple[bytes, ...], int | None]:
    """The words of a reply's line, and the size of the body after it, None if it has none."""
    word, *args = line.split(b" ")
    if word not in WORDS:
        raise _nonsense(line[:40])
    if word not in WITH_BODY:
        return word, tuple(args), None
    size = args[-1] if args else b""
    if not size.isdigit() or int(size) > MAX_BODY:
        raise _nonsense(line[:40])
    return word, tuple(args), int(size)


def _nonsense(answer: bytes) -> NonsenseError:
    return NonsenseError(f"this is not beanstalkd, it answered {quote_answer(answer)}")
