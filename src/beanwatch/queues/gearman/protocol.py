"""Parses the replies of a gearmand to the commands of its text protocol."""

import re

from beanwatch.light_typing import NamedTuple
from beanwatch.net.errors import quote_answer

COMMANDS = b"version\ngetpid\nstatus\nworkers\n"
MAX_LINE = 200  # bytes of the replies to `version` and `getpid`
# `OK 1.1.20`, or without OK in old versions. Other servers answer an error or a greeting.
VERSION = re.compile(rb"(?:OK )?\S*\d\S*|ERR .*")
# A line of `status`: function, jobs, running jobs, workers. A name may contain tabs and line ends.
# Or, as the last group, a rest that is no such line.
STATUS_LINE = re.compile(r"(.+?)\t([0-9]{1,10})\t([0-9]{1,10})\t([0-9]{1,10})\n|(.+)", re.DOTALL)
# A line of `workers`: file descriptor, host, id, functions.
WORKER_LINE = re.compile(rb"^\d+ .*? :(?: (.*))?$", re.MULTILINE)


class NonsenseError(ValueError):
    """A reply that no gearmand sends. The text says what it was."""


# The numbers of a function: its jobs, how many of them are running, and the workers that can do it.
# A plain tuple, because making a named one of each line would take a quarter of the time of a poll.
Function = tuple[int, int, int]


class Replies(NamedTuple):
    """The replies to COMMANDS. The lists have no line `.` at their end."""

    version: str
    pid: str
    status: bytes
    workers: bytes


def split_replies(data: bytes | bytearray) -> Replies | None:
    """Return the replies; None if they are not complete yet. Raises NonsenseError.

    It is called each time that bytes have arrived, so it first looks at the ends of the data.
    """
    start = bytes(data[:MAX_LINE])
    first, end, _ = start.partition(b"\n")
    if (end or len(start) == MAX_LINE) and not VERSION.fullmatch(first.strip()):
        raise NonsenseError(f"it answered {quote_answer(first[:40])}")
    if not data.endswith(b".\n"):
        return None
    version, _, rest = bytes(data).partition(b"\n")
    pid, _, rest = rest.partition(b"\n")
    status, _, rest = (b"\n" + rest).partition(b"\n.\n")
    workers, end, _ = (b"\n" + rest).partition(b"\n.\n")
    if not end:
        return None
    return Replies(_to_text(version), _to_text(pid), status[1:], workers[1:])


def _to_text(line: bytes) -> str:
    return line.strip().decode("ascii", "backslashreplace")


def parse_status(body: bytes) -> dict[str, Function]:
    """Return the numbers of each function. Raises NonsenseError if `body` is not a status."""
    text = f"{body.decode('utf-8', 'backslashreplace')}\n" if body else ""
    lines = STATUS_LINE.findall(text)
    if lines and (rest := lines[-1][-1]):
        raise NonsenseError(f"its status has {quote_answer(rest[:40].encode())}")
    return {name: (int(jobs), int(runs), int(workers)) for name, jobs, runs, workers, _ in lines}


def parse_workers(body: bytes) -> list[str]:
    """Return the functions of each connection, as the server wrote them: separated by spaces.

    Raises NonsenseError for another reply. If the name of a function contains the line that ends
    `status`, this reply starts with the rest of that name.
    """
    if body and not WORKER_LINE.match(body):
        raise NonsenseError(f"its list of workers has {quote_answer(body[:40])}")
    texts = WORKER_LINE.findall(body)
    return [text.decode("utf-8", "backslashreplace").strip() for text in texts]
