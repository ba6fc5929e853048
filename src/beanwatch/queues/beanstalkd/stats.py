"""beanstalkd's numbers: the bodies of `stats`, `stats-tube`, `stats-job` and `list-tubes`.

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

# Numbers of 64 bits. A larger one is no measurement, and might not fit into a float.
MAX_NUMBER = 2**64
# Counts start at 0. What beanstalkd reports from here on is -1, -2, ...: it subtracted too often.
UNDERFLOW = 2**63

Value = int | float | str
Stats = dict[str, Value]

# The fields of `stats-tube` that the model has names for. Every version from 1.4 on sends them.
JOB_FIELDS = (
    "current-jobs-ready",
    "current-jobs-reserved",
    "current-jobs-delayed",
    "current-jobs-buried",
)
TUBE_FIELDS = (*JOB_FIELDS, "current-watching", "current-waiting", "total-jobs", "cmd-delete")
# Those of `stats`. `id` came with 1.9, `draining` with 1.12.
STATS_FIELDS = (*JOB_FIELDS, "total-jobs", "current-connections", "current-tubes", "uptime")
MODEL_FIELDS = frozenset((*TUBE_FIELDS, "name"))
# All of `stats-tube` after the name, in the order in which at least 1.9 to 1.13 write it.
PLAIN_FIELDS = (
    *("current-jobs-urgent", *JOB_FIELDS, "total-jobs"),
    *("current-using", "current-watching", "current-waiting"),
    *("cmd-delete", "cmd-pause-tube", "pause", "pause-time-left"),
)
MODEL_STATS = frozenset((*STATS_FIELDS, "draining"))


def parse_stats(body: bytes) -> Stats:
    """Parse the YAML mapping of `stats`, `stats-tube` or `stats-job` ("Other Commands").

    By splitting, not as YAML: values are unquoted up to 1.12 and quoted from 1.13 on, and
    a YAML reader takes the tube `1_000` for a number. `draining` becomes 0 or 1.
    """
    stats: Stats = {}
    for line in body.decode("utf-8", "replace").split("\n"):
        key, colon, value = line.partition(": ")
        if value.isdecimal() and key not in TEXT and len(value) < 20:  # nearly all of them
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
    return number if -MAX_NUMBER < number < MAX_NUMBER else text  # nan and inf are text, too


def parse_list(body: bytes) -> list[str]:
    """Parse the YAML list of `list-tubes`: one `- name` a line, quoted or not."""
    names = (line[2:] for line in body.decode("ascii", "replace").splitlines() if line[:2] == "- ")
    return [name.strip('"') for name in names]


def known_count(stats: Mapping[str, object], field: str) -> int | None:
    """A count; None where it is not there, or cannot be right."""
    value = stats.get(field)
    return value if type(value) is int and 0 <= value < UNDERFLOW else None


def count_of(stats: Mapping[str, object], field: str) -> int:
    """A count of `stats-job`; 0 where it is not there, or not a number."""
    value = stats.get(field, 0)
    return int(value) if isinstance(value, int | float) else 0


class Doubts(list[str]):
    """What cannot be right, in words; each was left out."""

    def check(self, owner: str, stats: Stats, fields: Iterable[str]) -> list[int | None]:
        """The counts in these fields; None for one that is not a count.

        Raises NonsenseError if a field is missing: then this is not beanstalkd.
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
        """Note that this field of a tube, or of the server, holds no count."""
        shown = repr(value[:30]) if isinstance(value, str) else value
        self.append(f"{owner}: {field} is {shown}, which is not a count")


def read_tube(name: str, body: bytes, server: ServerState | None, doubts: Doubts) -> QueueState:
    """The model of one tube, from the body of its `stats-tube`. As `to_queue`."""
    return to_queue(name, parse_stats(body), server, doubts)


def to_queue(name: str, stats: Stats, server: ServerState | None, doubts: Doubts) -> QueueState:
    """The model of one tube. `server` is as of the same poll. Raises NonsenseError.

    `missing_jobs` is 0 or None, and the age of a head is 0 or None: more takes a memory.
    """
    counts = doubts.check(name, stats, TUBE_FIELDS)
    return _make_queue(name, counts, to_native(name, stats, MODEL_FIELDS, doubts), server)


def read_plain_tube(
    name: str, body: bytes, server: ServerState | None, doubts: Doubts
) -> QueueState:
    """As `read_tube`, in a third of its time, for a body that has exactly PLAIN_FIELDS.

    The first call takes as long as a hundred tubes.
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
    """The number of each text. Short ones, as most counts are, are kept: int() takes longer."""

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
    """The model of a tube. `counts` are those of TUBE_FIELDS."""
    ready, reserved, delayed, buried, watching, waiting, puts, deletes = counts
    is_default = name == "default"
    if is_default:
        # Every connection uses and watches it until it says otherwise, ours too.
        watching = watching and watching - 1
        if native.get("current_using"):
            native["current_using"] -= 1
    left = native.get("pause_time_left")
    try:
        is_balanced = puts - deletes == ready + reserved + delayed + buried  # type: ignore[operator]
    except TypeError:  # one of them is not known
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
    """The jobs that a tube's consumers may hold, or 0 if at least one of them surely holds none.

    A worker that watches several tubes may hold a job of another tube. All of this tube's workers
    may do so if as many jobs are held elsewhere as workers watch here. The tube `default` is an
    exception: every connection watches it. None if what is needed is not known.
    """
    if reserved is None or reserved > 0 or is_default:
        return reserved
    elsewhere = server.reserved if server else None
    if elsewhere is None or watching is None:
        return None
    return elsewhere if elsewhere >= watching else 0


def to_server(stats: Stats, doubts: Doubts) -> ServerState:
    """The model of a server. Raises NonsenseError."""
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
    """What tells one process of a server from the next: its id, or before 1.9 its pid."""
    return str(stats.get("id") or stats.get("pid", "")) or None


def to_native(owner: str, stats: Stats, known: frozenset[str], doubts: Doubts) -> dict[str, Number]:
    """Every number that the model has no name for, under the name of its series."""
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
    """A field's name as a node of a metric path: `pause-time-left` is `pause_time_left`."""
    return node(field).replace("-", "_")


def count_binlog_bytes(native: Mapping[str, Number]) -> Number | None:
    """The size of the binlog on disk, 0 without one: its files are made at their full size."""
    try:
        last, size = native["binlog_current_index"], native["binlog_max_size"]
        return (last - native["binlog_oldest_index"] + 1) * size if last else 0
    except KeyError:  # before 1.4.3, or a number that cannot be right
        return None


def describe_restart(native: Mapping[str, Number], jobs: Sequence[int | None]) -> str:
    """What a restart did to the jobs, which are now so many in each state."""
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
    """Puts - deletes - present jobs; None if one of them is not known.

    In one life of a tube it starts at 0, or below 0 after a replay of the binlog, and rises by
    one with each job that the server loses (a full disk).
    """
    counts = (queue.puts, queue.deletes, queue.ready, queue.reserved, queue.delayed, queue.buried)
    if None in counts:
        return None
    return (queue.puts or 0) - (queue.deletes or 0) - queue.jobs


class Rejected(NamedTuple):
    """Puts that the server refused in this life, as far as two looks tell.

    `seen` is what looked refused at the last look; `sure` is what surely was.
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
