"""beanstalkd's protocol: functions that build commands, and `ReplyBuffer`, which parses replies.

Nothing here does I/O. The protocol is described in beanstalkd's `doc/protocol.txt`; names in quotes
are its sections. The commands are bytes without a line end, which the connection adds.
"""

from functools import lru_cache

from beanwatch.light_typing import NamedTuple
from beanwatch.net.errors import quote_answer

# Most bytes in a line of a reply. beanstalkd's are shorter, since a tube's name has at most 200.
MAX_LINE = 1024
# Most bytes of a body that are kept. A list of 100,000 tubes with the longest names is smaller.
MAX_BODY = 32 * 1024 * 1024
MAX_JOB = 1 << 30  # most bytes in the body of a job; beanstalkd allows no more
MAX_TUBE_NAME = 200  # bytes
TUBE_NAME_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+/;.$_()"
)
ID_DIGITS = 20  # most digits of a job's id, a number of 64 bits
# The first words of the replies with a body, and of all replies.
WITH_BODY = frozenset((b"OK", b"FOUND", b"RESERVED"))
WORDS = WITH_BODY | frozenset(
    b"INSERTED BURIED KICKED WATCHING USING PAUSED DELETED RELEASED TOUCHED NOT_FOUND NOT_IGNORED "
    b"TIMED_OUT DEADLINE_SOON DRAINING EXPECTED_CRLF JOB_TOO_BIG OUT_OF_MEMORY INTERNAL_ERROR "
    b"BAD_FORMAT UNKNOWN_COMMAND".split()
)

STATS, LIST_TUBES, USE_DEFAULT = b"stats", b"list-tubes", b"use default"


def stats_tube(name: str) -> bytes:
    """Build `stats-tube`; its reply is OK with the statistics, or NOT_FOUND ("Other Commands")."""
    return b"stats-tube " + name.encode()


def stats_job(job_id: bytes) -> bytes:
    """Build `stats-job`; its reply is OK with the job's fields, or NOT_FOUND ("Other Commands")."""
    return b"stats-job " + job_id


def use(name: str) -> bytes:
    """Build `use`, which selects the tube for `peek-...` and creates it if it does not exist.

    See "Producer Commands". The reply is USING.
    """
    return b"use " + name.encode()


def peek(state: str) -> bytes:
    """Build `peek-ready`, `peek-delayed` or `peek-buried` for the used tube ("Other Commands").

    `state` is ready, delayed or buried. The reply is FOUND with the id and body of the first job in
    this state, or NOT_FOUND.
    """
    return b"peek-" + state.encode()


@lru_cache(20_000)  # each reading checks the names of a server twice
def is_tube_name(name: str) -> bool:
    """Return True for a valid tube name ("Protocol"): 1 to 200 letters, digits or `-+/;.$_()`.

    It must not begin with a hyphen.
    """
    is_short = 0 < len(name) <= MAX_TUBE_NAME
    return is_short and name[0] != "-" and TUBE_NAME_CHARACTERS.issuperset(name)


class NonsenseError(ValueError):
    """The peer sent something that beanstalkd never sends; the text says what."""


class Reply(NamedTuple):
    """One reply: its first word, the words after it, and its body (empty if it has none)."""

    word: bytes
    args: tuple[bytes, ...] = ()
    body: bytes = b""


class ReplyBuffer:
    """Splits the received bytes into replies. Do not use it again after a NonsenseError.

    The body of a job that is larger than MAX_BODY is skipped: the reply has an empty body, and its
    size is in the last argument.
    """

    def __init__(self) -> None:
        self._data = b""
        self._start = 0  # index of the first byte that was not returned yet
        self._parts: list[bytes] = []  # pieces of a reply whose body is incomplete
        self._missing = 0  # bytes until that body is complete
        self._unwanted = 0  # bytes until a body that is skipped has ended
        self._skipped: Reply | None = None  # the reply with that body

    def feed(self, data: bytes) -> None:
        """Append bytes that the socket received."""
        if self._unwanted:
            skipped = min(self._unwanted, len(data))
            self._unwanted -= skipped
            data = data[skipped:]
            if self._unwanted:
                return
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
        """Return the next complete reply; None if more bytes are needed. Raises NonsenseError."""
        if self._missing > 0 or self._unwanted:
            return None
        if self._skipped is not None:
            reply, self._skipped = self._skipped, None
            return reply
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
        if size > MAX_BODY:
            self._skipped = Reply(word, args)
            self._unwanted = max(0, stop + 2 - len(data))
            self._data, self._start = data[stop + 2 :], 0
            return self.next()
        if len(data) < stop + 2:
            # Keep the line too: the reply is parsed again when its body is complete.
            self._parts = [data[start:]]
            self._missing = stop + 2 - len(data)
            return None
        if data[stop : stop + 2] != b"\r\n":
            raise _nonsense(data[body:stop][-40:])
        self._start = stop + 2
        return Reply(word, args, data[body:stop])


@lru_cache(256)  # the replies to `stats-tube` have few different first lines
def _read_line(line: bytes) -> tuple[bytes, tuple[bytes, ...], int | None]:
    """Parse a reply's first line. Return its word, its arguments, and the size of its body or None.

    Raises NonsenseError.
    """
    word, *args = line.split(b" ")
    if word not in WORDS:
        raise _nonsense(line[:40])
    if word not in WITH_BODY:
        return word, tuple(args), None
    size = args[-1] if args else b""
    limit = MAX_JOB if word == b"FOUND" else MAX_BODY
    if not size.isdigit() or int(size) > limit:
        raise _nonsense(line[:40])
    return word, tuple(args), int(size)


def _nonsense(answer: bytes) -> NonsenseError:
    return NonsenseError(f"this is not beanstalkd, it answered {quote_answer(answer)}")
