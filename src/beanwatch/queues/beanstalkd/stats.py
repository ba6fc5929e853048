"""Parse the bodies of `stats`, `stats-tube`, `stats-job` and `list-tubes`, and fill the model.

The bodies are described in the section "Other Commands" of beanstalkd's protocol. Nothing here does
I/O.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache

from beanwatch.light_typing import NamedTuple
from beanwatch.queues.beanstalkd.protocol import NonsenseError
from beanwatch.queues.model import Number, QueueState, ServerState
from beanwatch.telemetry.nodes import node

# Fields that stay text even if they look like a number: `1_000` is a valid name of a tube.
TEXT = frozenset(("id", "name", "version", "hostname", "os", "platform", "tube", "state"))

# beanstalkd's numbers have 64 bits. A larger number is an error, and may not fit into a float.
MAX_NUMBER = 2**64
# Counts are unsigned, but beanstalkd may subtract too often. Then -1 is sent as 2**64 - 1. So a
# count from here on is a negative one.
UNDERFLOW = 2**63

Value = int | float | str
Stats = dict[str, Value]

# The fields of `stats-tube` that become fields of QueueState. Every version from 1.4 on sends them.
JOB_FIELDS = (
    "current-jobs-ready",
    "current-jobs-reserved",
    "current-jobs-delayed",
    "current-jobs-buried",
)
TUBE_FIELDS = (*JOB_FIELDS, "current-watching", "current-waiting", "total-jobs", "cmd-delete")
# The fields of `stats` that become fields of ServerState. `id` exists since 1.9, `draining` since
# 1.12.
STATS_FIELDS = (*JOB_FIELDS, "total-jobs", "current-connections", "current-tubes", "uptime")
MODEL_FIELDS = frozenset((*TUBE_FIELDS, "name"))
# All fields of `stats-tube` after the name, in the order in which versions 1.9 to 1.13 send them.
PLAIN_FIELDS = (
    *("current-jobs-urgent", *JOB_FIELDS, "total-jobs"),
    *("current-using", "current-watching", "current-waiting"),
    *("cmd-delete", "cmd-pause-tube", "pause", "pause-time-left"),
)
MODEL_STATS = frozenset((*STATS_FIELDS, "draining"))
# Fields whose names begin with one of these words, before the first hyphen, are numbers.
NUMBER_PREFIXES = frozenset(
    ("cmd", "current", "total", "binlog", "rusage", "job", "max", "pause", "pid")
)


def parse_stats(body: bytes) -> Stats:
    """Parse the YAML mapping of `stats`, `stats-tube` or `stats-job` ("Other Commands").

    Each line is split at `: `; a YAML parser would read the tube name `1_000` as a number. Texts
    are unquoted up to beanstalkd 1.12 and quoted since 1.13. `true` and `false` become 1 and 0.
    """
    stats: Stats = {}
    for line in body.decode("utf-8", "replace").split("\n"):
        key, colon, value = line.partition(": ")
        if value.isdecimal() and key not in TEXT and len(value) < 20:  # true for nearly all values
            stats[key] = int(value)
        elif colon:
            stats[key] = parse_value(key, value)
    return stats


def parse_value(key: str, text: str) -> Value:
    """Parse the value of a field. It stays text if the field is in TEXT or it is no number."""
    if text[:1] == '"':
        text = text.strip('"')
    if key in TEXT:
        return text
    if text in ("true", "false"):
        return int(text == "true")
    try:
        number = int(text) if text.removeprefix("-").isdecimal() else float(text)
    except ValueError:  # also raised for thousands of digits
        return text
    return number if -MAX_NUMBER < number < MAX_NUMBER else text  # nan and inf stay text


def parse_list(body: bytes) -> list[str]:
    """Return the names in the YAML list of `list-tubes`: one `- name` a line, quoted or not."""
    names = (line[2:] for line in body.decode("ascii", "replace").splitlines() if line[:2] == "- ")
    return [name.strip('"') for name in names]


def known_count(stats: Mapping[str, object], field: str) -> int | None:
    """Return the count in a field; None if the field is missing, negative or not an integer."""
    value = stats.get(field)
    return value if type(value) is int and 0 <= value < UNDERFLOW else None


def count_of(stats: Mapping[str, object], field: str) -> int:
    """Return the number in a field as an integer; 0 if the field is missing or is not a number."""
    value = stats.get(field, 0)
    return int(value) if isinstance(value, int | float) else 0


class ImplausibleValues(list[str]):
    """Collects a text for each value that cannot be right, and was left out for that reason."""

    def check(self, owner: str, stats: Stats, fields: Iterable[str]) -> list[int | None]:
        """Return the counts in these fields. A value that is not a count becomes None and is noted.

        `owner` is the tube's name or "server". Raises NonsenseError if a field is missing, since
        beanstalkd sends all of them.
        """
        counts: list[int | None] = []
        for field in fields:
            if field not in stats:
                raise NonsenseError(f"this is not beanstalkd: no {field} in its statistics")
            count = known_count(stats, field)
            if count is None:
                self.note(owner, field, stats[field])
            counts.append(count)
        return counts

    def note(self, owner: str, field: str, value: Value) -> None:
        """Add a text: this field of `owner`, a tube's name or "server", is not a count."""
        shown = repr(value[:30]) if isinstance(value, str) else value
        self.append(f"{owner}: {field} is {shown}, which is not a count")


def read_tube(
    name: str, body: bytes, server: ServerState | None, implausible: ImplausibleValues
) -> QueueState:
    """Parse the body of a `stats-tube` reply into a QueueState, as `to_queue` does."""
    return to_queue(name, parse_stats(body), server, implausible)


def to_queue(
    name: str, stats: Stats, server: ServerState | None, implausible: ImplausibleValues
) -> QueueState:
    """Convert the fields of `stats-tube` to a QueueState.

    `server` is the server's state in the same reading. `missing_jobs` and the ages of heads are 0
    or None, since other values need earlier readings. A value that cannot be right becomes None and
    is noted in `implausible`. Raises NonsenseError if a field is missing.
    """
    counts = implausible.check(name, stats, TUBE_FIELDS)
    return _make_queue(name, counts, to_native(name, stats, MODEL_FIELDS, implausible), server)


def read_plain_tube(
    name: str, body: bytes, server: ServerState | None, implausible: ImplausibleValues
) -> QueueState:
    """Do the same as `read_tube` in a third of the time, with one regular expression.

    A body that does not have exactly the fields PLAIN_FIELDS is passed to `read_tube`. The first
    call compiles the expression, which takes as long as reading 100 tubes. Raises NonsenseError.
    """
    match = _plain_tube().fullmatch(body.decode("latin-1"))
    if match is None:
        return read_tube(name, body, server, implausible)
    numbers = list(map(_NUMBERS.__getitem__, match.groups()))
    urgent, ready, reserved, delayed, buried, puts, using = numbers[:7]
    watching, waiting, deletes, pauses, pause, pause_left = numbers[7:]
    native: dict[str, Number] = {
        "current_jobs_urgent": urgent,
        "current_using": using,
        "cmd_pause_tube": pauses,
        "pause": pause,
        "pause_time_left": pause_left,
    }
    counts = (ready, reserved, delayed, buried, watching, waiting, puts, deletes)
    return _make_queue(name, counts, native, server)


class _Numbers(dict[str, int]):
    """Maps digits to their number. Caches the short ones, since int() is slower."""

    def __missing__(self, text: str) -> int:
        number = int(text)
        if len(text) < 4:
            self[text] = number
        return number


_NUMBERS = _Numbers()


@cache
def _plain_tube() -> re.Pattern[str]:
    numbers = "".join(f"{field}: ([0-9]{{1,18}})\n" for field in PLAIN_FIELDS)
    return re.compile(f"---\nname: .*\n{numbers}")


def _make_queue(
    name: str,
    counts: Sequence[int | None],
    native: dict[str, Number],
    server: ServerState | None,
) -> QueueState:
    """Make the QueueState of a tube. `counts` are in the order of TUBE_FIELDS."""
    ready, reserved, delayed, buried, watching, waiting, puts, deletes = counts
    is_default = name == "default"
    if is_default:
        # Subtract our own connection: every new connection uses and watches `default`.
        watching = watching and watching - 1
        if native.get("current_using"):
            native["current_using"] -= 1
    left = native.get("pause_time_left")
    try:
        is_balanced = puts - deletes == ready + reserved + delayed + buried  # type: ignore[operator]
    except TypeError:  # a count is None
        is_balanced = False
    return QueueState(
        name,
        ready,
        reserved,
        delayed,
        buried,
        watching,
        waiting,
        puts,
        deletes,
        None,
        0.0 if ready == 0 else None,
        0.0 if buried == 0 else None,
        None if left is None else left > 0,
        left,
        0 if is_balanced else None,
        count_held(reserved, watching, server, is_default),
        is_default,
        native,
    )


def count_held(
    reserved: int | None, watching: int | None, server: ServerState | None, is_default: bool
) -> int | None:
    """Return how many jobs the consumers of a tube may have reserved; None if that is unknown.

    If jobs of this tube are reserved, it is their number. Otherwise its consumers may have reserved
    jobs of other tubes that they watch too. All of them can be busy in this way only if at least as
    many jobs are reserved on the server as consumers watch this tube; if fewer are, the result is
    0. For `default` only its own jobs count, since every connection watches it.
    """
    if reserved is None or reserved > 0 or is_default:
        return reserved
    elsewhere = server.reserved if server else None
    if elsewhere is None or watching is None:
        return None
    return elsewhere if elsewhere >= watching else 0


def to_server(stats: Stats, implausible: ImplausibleValues) -> ServerState:
    """Convert the fields of `stats` to a ServerState, as `to_queue` does for a tube."""
    counts = implausible.check("server", stats, STATS_FIELDS)
    ready, reserved, delayed, buried, puts, connections, tubes, uptime = counts
    native = to_native("server", stats, MODEL_STATS, implausible)
    binlog_bytes = count_binlog_bytes(native)
    if binlog_bytes is not None:
        native["binlog_bytes"] = binlog_bytes
    draining = stats.get("draining", 0)
    if isinstance(draining, str):
        implausible.append(f"server: draining is {draining[:30]!r}, which is not true or false")
    return ServerState(
        version=str(stats.get("version", "")) or None,
        instance=instance_of(stats),
        uptime=uptime,
        connections=connections,
        queues=tubes,
        ready=ready,
        reserved=reserved,
        delayed=delayed,
        buried=buried,
        puts=puts,
        draining=None if isinstance(draining, str) else bool(draining),
        is_first_start=decide_first_start(native),
        restart_note=describe_restart(native, (ready, reserved, delayed, buried)),
        native=native,
    )


def instance_of(stats: Stats) -> str | None:
    """Return a text that differs after each restart: the server's `id`, or its pid before 1.9.

    It becomes a part of keys and file names, so a text that no server has as its id is None.
    """
    instance = str(stats.get("id") or stats.get("pid", ""))
    return instance if re.fullmatch("[A-Za-z0-9_-]{1,64}", instance) else None


def to_native(
    owner: str, stats: Stats, known: frozenset[str], implausible: ImplausibleValues
) -> dict[str, Number]:
    """Return every number that is not in `known`, the fields of the model, by its series' name.

    A number that is out of range, and a text in a field of numbers, is noted in `implausible`.
    """
    native: dict[str, Number] = {}
    for field, value in stats.items():
        if field in known:
            continue
        if isinstance(value, str):
            if field.partition("-")[0] in NUMBER_PREFIXES:
                implausible.note(owner, field, value)
        elif -UNDERFLOW < value < UNDERFLOW:
            native[series_name(field)] = value
        else:
            implausible.note(owner, field, value)
    return native


@lru_cache(1024)
def series_name(field: str) -> str:
    """Return the name of a field's series: `pause_time_left` for `pause-time-left`."""
    return node(field).replace("-", "_")


def count_binlog_bytes(native: Mapping[str, Number]) -> Number | None:
    """Return the size of the binlog in bytes; 0 without one, None if unknown.

    Each file counts with its maximum size, since beanstalkd allocates it when it creates the file.
    """
    try:
        last, size = native["binlog_current_index"], native["binlog_max_size"]
        return (last - native["binlog_oldest_index"] + 1) * size if last else 0
    except KeyError:  # before 1.4.3, or an implausible number
        return None


def decide_first_start(native: Mapping[str, Number]) -> bool | None:
    """Return whether the binlog began with this process; None if that is unknown.

    Each start opens a file with a new number. Without a binlog the number is 0.
    """
    current = native.get("binlog_current_index")
    return current == 1 if current else None


def describe_restart(native: Mapping[str, Number], jobs: Sequence[int | None]) -> str:
    """Return what the server's start did to jobs, to follow "was started 2m ago"; "" if unknown.

    `jobs` are the present counts in each state. One reading does not tell a restart from the first
    start of a new server, so the text never says that jobs were lost.
    """
    current = native.get("binlog_current_index")
    if current is None:  # before 1.4.3
        return ""
    if not current:  # no file is open: beanstalkd numbers the files of a binlog from 1
        return ", without a binlog: its jobs do not survive a restart"
    if decide_first_start(native):
        return ", with a new binlog"
    if None in jobs:
        return ", with a binlog"
    count = sum(number or 0 for number in jobs)
    return f", with a binlog: it has {count} job{'' if count == 1 else 's'} now"


def balance_of(queue: QueueState) -> int | None:
    """Return puts - deletes - present jobs of a tube; None if one of these counts is unknown.

    This balance is 0 in a new tube. It rises by one with each job that the server loses (when the
    binlog's disk is full). It may be negative after the server has read its binlog.
    """
    counts = (queue.puts, queue.deletes, queue.ready, queue.reserved, queue.delayed, queue.buried)
    if None in counts:
        return None
    return (queue.puts or 0) - (queue.deletes or 0) - queue.jobs


class Rejected(NamedTuple):
    """The number of puts that the server has refused since its start.

    `seen` comes from the last reading alone, and may count puts whose body is still being sent.
    `confirmed` counts only what two readings in a row show. `is_first` is true after the first
    reading: then there is nothing to compare with, so `confirmed` may still be too high.
    """

    seen: int
    confirmed: int
    is_first: bool = False


def count_rejected(seen: int, before: Rejected | None) -> Rejected:
    """Count the refused puts. `seen` is the present cmd-put minus total-jobs of `stats`.

    cmd-put also counts a put whose body is still being sent. That put looks refused in one sample
    but not in two. So the minimum of two consecutive samples is used, and it never decreases;
    only the second sample may lower the number of the first.
    """
    seen = max(0, seen)
    if before is None:
        return Rejected(seen, seen, is_first=True)
    confirmed = min(before.seen, seen)
    return Rejected(seen, confirmed if before.is_first else max(before.confirmed, confirmed))
