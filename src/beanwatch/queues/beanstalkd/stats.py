"""beanstalkd's own numbers: `stats`, `stats-tube`, `stats-job` and `list-tubes`."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from beanwatch.queues.beanstalkd.connection import BATCH, Link, ProtocolError, Reply

# A batch that took longer (seconds) is followed by a rest of this share of its time.
SLOW = 0.01
REST = 0.15

# Fields that are text even when they look like a number: a tube may be called 1_000.
TEXT = frozenset(("id", "name", "version", "hostname", "os", "platform", "tube", "state"))

# Counters have 64 bits: a number beyond them is none, and might not fit into a float either.
MOST = 2**64

Value = int | float | str
Stats = dict[str, Value]
Parse = Callable[[bytes], Stats]

STATS, LIST_TUBES, STATS_TUBE = b"stats", b"list-tubes", b"stats-tube "


def parse_stats(body: bytes) -> Stats:
    """Parse the YAML mapping of `stats`, `stats-tube` or `stats-job` ("Other Commands").

    By splitting, not as YAML: values are unquoted up to 1.12 and quoted from 1.13 on, and
    a YAML reader takes the tube `1_000` for a number. `draining` becomes 0 or 1. The id of
    a job is a number and that of a server is text: callers that want the job's use `int`.
    """
    stats: Stats = {}
    for line in body.decode("utf-8", "replace").split("\n"):
        key, colon, value = line.partition(": ")
        if value.isdecimal() and key not in TEXT and len(value) < 20:  # as nearly all are
            stats[key] = int(value)
        elif colon:
            stats[key] = parse_value(key, value)
    return stats


def parse_value(key: str, text: str) -> Value:
    """One value: text for the fields in TEXT, else a number where it is one."""
    if text[:1] == '"':
        text = text.strip('"')
    if key in TEXT:
        return text
    if text in ("true", "false"):
        return int(text == "true")
    try:
        number = int(text) if text.removeprefix("-").isdecimal() else float(text)
    except ValueError:  # also for thousands of digits
        return text
    return number if -MOST < number < MOST else text  # nor are nan and inf measurements


def parse_list(body: bytes) -> list[str]:
    """Parse the YAML list of `list-tubes`: one `- name` a line, quoted or not."""
    names = (line[2:] for line in body.decode("ascii", "replace").splitlines() if line[:2] == "- ")
    return [name.strip('"') for name in names]


def numbers(stats: Stats) -> dict[str, int | float]:
    """Only the fields that are numbers, under their metric name (`-` as `_`)."""
    return {
        key.replace("-", "_"): value for key, value in stats.items() if not isinstance(value, str)
    }


def count_of(stats: Mapping[str, object], field: str) -> int:
    """A field that counts; 0 where it is not there, or no number."""
    value = stats.get(field, 0)
    return int(value) if isinstance(value, int | float) else 0


def read_server(link: Link) -> Stats:
    """The server's `stats`. Raises ServerError."""
    return parse_stats(body_of(link, STATS, link.ask_one(STATS)))


def read_tube_names(link: Link) -> list[str]:
    """The names of all tubes, `list-tubes`. Raises ServerError."""
    return parse_list(body_of(link, LIST_TUBES, link.ask_one(LIST_TUBES)))


def read_tubes(
    link: Link, names: Iterable[str], parse: Parse = parse_stats
) -> Iterator[tuple[str, Stats]]:
    """`stats-tube` of each name, pipelined, as (name asked for, stats). Raises ServerError.

    A tube that vanished since its name was listed (NOT_FOUND) is left out: that is normal.
    """
    names = list(names)
    commands = [stats_tube(name) for name in names]
    replies = ask_gently(link, commands)
    for name, command, reply in zip(names, commands, replies, strict=True):
        if reply.word != b"NOT_FOUND":
            yield name, parse(body_of(link, command, reply))


def stats_tube(name: str) -> bytes:
    """The command that asks for one tube."""
    return STATS_TUBE + name.encode()


def ask_gently(
    link: Link,
    commands: Sequence[bytes],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Reply]:
    """The replies to many commands, pipelined. Raises ServerError.

    A server that is slow, as one is with thousands of tubes, is given a rest after each
    batch, or its other clients would wait for us all the time. The time that a batch is on its
    way to a far server is such a rest.
    """
    for start in range(0, len(commands), BATCH):
        started = clock()
        replies = link.stream(commands[start : start + BATCH])
        first = next(replies)
        way = clock() - started
        yield first
        yield from replies
        taken = clock() - started
        if taken > SLOW and start + BATCH < len(commands):
            sleep(max(0.0, taken * REST - way))


def take_off_own(default: Stats) -> None:
    """Every connection uses and watches the tube `default`, ours too: it does not count."""
    for field in ("current-using", "current-watching"):
        count = default.get(field)
        if isinstance(count, int) and count > 0:
            default[field] = count - 1


def read_jobs(link: Link, ids: Sequence[bytes]) -> Iterator[Stats]:
    """`stats-job` of each id, pipelined; {} for a job that is gone. Raises ServerError."""
    commands = [b"stats-job " + job for job in ids]
    for command, reply in zip(commands, link.stream(commands), strict=False):
        yield {} if reply.word == b"NOT_FOUND" else parse_stats(body_of(link, command, reply))


def body_of(link: Link, command: bytes, reply: Reply) -> bytes:
    """The body of the reply to a question. Raises ProtocolError if it has none."""
    if reply.word != b"OK":
        raise ProtocolError(
            f"{link.address}: {command.decode('ascii', 'replace')} "
            f"was answered {reply.word.decode()}"
        )
    return reply.body
