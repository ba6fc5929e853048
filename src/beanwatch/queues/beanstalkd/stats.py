"""Parse the bodies of `stats`, `stats-tube`, `stats-job` and `list-tubes` ("Other Commands").

Bodies become mappings, and mappings become the model. Nothing here does I/O.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from beanwatch.queues.beanstalkd.protocol import NonsenseError
from beanwatch.queues.model import Number, QueueState, ServerState
from beanwatch.telemetry.nodes import node

# Fields that are text even when they look like a number: a tube may be called 1_000.
TEXT = frozenset(("id", "name", "version", "hostname", "os", "platform", "tube", "state"))

# beanstalkd's numbers have 64 bits. A larger one is an error, and might not fit into a float.
MAX_NUMBER = 2**64
# Counts are unsigned. From here on they stand for -1, -2, ...: beanstalkd subtracted too often.
UNDERFLOW = 2**63

Value = int | float | str
Stats = dict[str, Value]

# The fields of `stats-tube` that the model has. Every version from 1.4 on sends them.
JOB_FIELDS = (
    "current-jobs-ready",
    "current-jobs-reserved",
    "current-jobs-delayed",
    "current-jobs-buried",
)
TUBE_FIELDS = (*JOB_FIELDS, "current-watching", "current-waiting", "total-jobs", "cmd-delete")
# The fields of `stats` that the model has. `id` came with 1.9, `draining` with 1.12.
STATS_FIELDS = (*JOB_FIELDS, "total-jobs", "current-connections", "current-tubes", "uptime")
MODEL_FIELDS = frozenset((*TUBE_FIELDS, "name"))
# All fields of `stats-tube` after the name, in the order in which 1.9 to 1.13 write them.
PLAIN_FIELDS = (
    *("current-jobs-urgent", *JOB_FIELDS, "total-jobs"),
    *("current-using", "current-watching", "current-waiting"),
    *("cmd-delete", "cmd-pause-tube", "pause", "pause-time-left"),
)
MODEL_STATS = frozenset((*STATS_FIELDS, "draining"))


def parse_stats(body: bytes) -> Stats:
    """Parse the YAML mapping of `stats`, `stats-tube` or `stats-job` ("Other Commands").

    Lines are split at `: `, since a YAML parser would read the tube `1_000` as a number. Values are
    unquoted up to 1.12 and quoted from 1.13 on. `true` and `false` (`draining`) become 1 and 0.
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
    """Parse one value: text for the fields in TEXT, else a number if it is one, else text."""
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
    """Parse the YAML list of `list-tubes`: one `- name` on each line, quoted or not."""
    names = (line[2:] for line in body.decode("ascii", "replace").splitlines() if line[:2] == "- ")
    return [name.strip('"') for name in names]


def known_count(stats: Mapping[str, object], field: str) -> int | None:
    """Return a count; None if the field is missing or is no plausible count."""
    value = stats.get(field)
    return value if type(value) is int and 0 <= value < UNDERFLOW else None


def count_of(stats: Mapping[str, object], field: str) -> int:
    """Return a count of `stats-job`; 0 if the field is missing or is not a number."""
    value = stats.get(field, 0)
    return int(value) if isinstance(value, int | float) else 0


class Doubts(list[str]):
    """Texts about implausible values, which were left out."""

    def check(self, owner: str, stats: Stats, fields: Iterable[str]) -> list[int | None]:
        """Return the counts in these fields, None for one that is not a count, and note those.

        Raises NonsenseError if a field is missing: the server is not beanstalkd.
        """
        counts: list[int | None] = []
        for field in fields:
            if field not in stats:
                raise NonsenseError(f"this is not beanstalkd: no {field} in its numbers")
            count = known_count(stats, field)
            if count is None:
                self.tell(owner, field, stats[field])
            counts.append(count)
        return counts

    def tell(self, owner: str, field: str, value: Value) -> None:
        """Note that this field of `owner`, a tube or the server, is not a count."""
        shown = repr(value[:30]) if isinstance(value, str) else value
        self.append(f"{owner}: {field} is {shown}, which is not a count")


def read_tube(name: str, body: bytes, server: ServerState | None, doubts: Doubts) -> QueueState:
    """Convert the body of a `stats-tube` to the model. Raises NonsenseError."""
    return to_queue(name, parse_stats(body), server, doubts)


def to_queue(name: str, stats: Stats, server: ServerState | None, doubts: Doubts) -> QueueState:
    """Convert a `stats-tube` to the model; `server` is from the same reading.

    `missing_jobs` and the ages of heads are 0 or None: other values need earlier readings. Raises
    NonsenseError.
    """
    counts = doubts.check(name, stats, TUBE_FIELDS)
    return _make_queue(name, counts, to_native(name, stats, MODEL_FIELDS, doubts), server)


def read_plain_tube(
    name: str, body: bytes, server: ServerState | None, doubts: Doubts
) -> QueueState:
    """Convert the body of a `stats-tube` to the model, with one regular expression.

    This takes a third of the time of `read_tube`, which is called for a body that has not exactly
    PLAIN_FIELDS. The first call takes as long as a hundred tubes. Raises NonsenseError.
    """
    match = _plain_tube().fullmatch(body.decode("latin-1"))
    if match is None:
        return read_tube(name, body, server, doubts)
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
    """A cache of the numbers of short texts, which most counts are: int() takes longer."""

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
    """Make the model of a tube. `counts` are in the order of TUBE_FIELDS."""
    ready, reserved, delayed, buried, watching, waiting, puts, deletes = counts
    is_default = name == "default"
    if is_default:
        # Subtract our own connection: each one uses and watches `default` at first.
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
    """Return how many jobs a tube's consumers may hold; 0 if at least one of them holds none.

    A worker that watches several tubes may hold a job of another tube. All workers of this tube
    may do so if at least as many jobs are reserved elsewhere as workers watch this tube. For
    `default` only its own jobs count, since every connection watches it. None if not known.
    """
    if reserved is None or reserved > 0 or is_default:
        return reserved
    elsewhere = server.reserved if server else None
    if elsewhere is None or watching is None:
        return None
    return elsewhere if elsewhere >= watching else 0


def to_server(stats: Stats, doubts: Doubts) -> ServerState:
    """Convert `stats` to the model. Raises NonsenseError."""
    counts = doubts.check("server", stats, STATS_FIELDS)
    ready, reserved, delayed, buried, puts, connections, tubes, uptime = counts
    native = to_native("server", stats, MODEL_STATS, doubts)
    binlog_bytes = count_binlog_bytes(native)
    if binlog_bytes is not None:
        native["binlog_bytes"] = binlog_bytes
    draining = stats.get("draining", 0)
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
        restart_note=describe_restart(native, (ready, reserved, delayed, buried)),
        native=native,
    )


def instance_of(stats: Stats) -> str | None:
    """Return the id of the server's process, or its pid before 1.9; it differs after a restart."""
    return str(stats.get("id") or stats.get("pid", "")) or None


def to_native(owner: str, stats: Stats, known: frozenset[str], doubts: Doubts) -> dict[str, Number]:
    """Return every number that is not in the model, by the name of its series."""
    native: dict[str, Number] = {}
    for field, value in stats.items():
        if field in known or isinstance(value, str):
            continue
        if -UNDERFLOW < value < UNDERFLOW:
            native[series_name(field)] = value
        else:
            doubts.tell(owner, field, value)
    return native


@lru_cache(1024)
def series_name(field: str) -> str:
    """Return a field's name as a node of a metric path: `pause_time_left`."""
    return node(field).replace("-", "_")


def count_binlog_bytes(native: Mapping[str, Number]) -> Number | None:
    """Return the size of the binlog in bytes, 0 without one; its files have their full size."""
    try:
        last, size = native["binlog_current_index"], native["binlog_max_size"]
        return (last - native["binlog_oldest_index"] + 1) * size if last else 0
    except KeyError:  # before 1.4.3, or an implausible number
        return None


def describe_restart(native: Mapping[str, Number], jobs: Sequence[int | None]) -> str:
    """Return a text on the effect of a restart; `jobs` are the counts in each state now."""
    current = native.get("binlog_current_index")
    if current is None:  # before 1.4.3
        return ""
    if not current:  # the first file of a binlog has the number 1
        return ", without a binlog: the jobs that it held are gone"
    if None in jobs:
        return ", and read its binlog"
    count = sum(number or 0 for number in jobs)
    return f", and read its binlog: it has {count} job{'' if count == 1 else 's'}"


def balance_of(queue: QueueState) -> int | None:
    """Return puts - deletes - present jobs; None if one of them is not known.

    It is 0 when a tube is created, and may be below 0 after a replay of the binlog. It rises by one
    with each job that the server loses (on a full disk).
    """
    counts = (queue.puts, queue.deletes, queue.ready, queue.reserved, queue.delayed, queue.buried)
    if None in counts:
        return None
    return (queue.puts or 0) - (queue.deletes or 0) - queue.jobs


class Rejected(NamedTuple):
    """The puts that this instance of the server refused.

    `seen` is the number that looked refused in the last reading, `sure` the number that two
    readings confirmed.
    """

    seen: int
    sure: int
    is_first: bool = False


def count_rejected(seen: int, before: Rejected | None) -> Rejected:
    """Count refused puts. `seen` is cmd-put - total-jobs of `stats`, as it is now.

    cmd-put also counts a put whose body is still being sent. It looks refused in one sample but
    not in two. So the minimum of two consecutive samples is taken, and it never decreases; only
    the first sample may be corrected downwards by the second.
    """
    seen = max(0, seen)
    if before is None:
        return Rejected(seen, seen, is_first=True)
    sure = min(before.seen, seen)
    return Rejected(seen, sure if before.is_first else max(before.sure, sure))
