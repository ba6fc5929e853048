"""beanstalkd's numbers: the bodies of `stats`, `stats-tube`, `stats-job` and `list-tubes`.

Bodies become mappings, and mappings become the model. Nothing here does I/O.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, cast

from beanwatch.queues.beanstalkd.protocol import NonsenseError
from beanwatch.queues.model import Number, QueueState, ServerState

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
# Those of `stats`. `id` came with 1.9, `draining` with 1.11.
STATS_FIELDS = (*JOB_FIELDS, "total-jobs", "current-connections", "current-tubes", "uptime")
MODEL_FIELDS = frozenset((*TUBE_FIELDS, "name"))
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


def count_of(stats: Mapping[str, object], field: str) -> int:
    """A count of `stats-job`; 0 where it is not there, or not a number."""
    value = stats.get(field, 0)
    return int(value) if isinstance(value, int | float) else 0


class Doubts(list[str]):
    """Numbers that cannot be right, in words; each was left out."""

    def check(self, owner: str, stats: Stats, fields: Iterable[str]) -> list[int | None]:
        """The counts in these fields; None for one that is not a count.

        Raises NonsenseError if a field is missing: then this is not beanstalkd.
        """
        counts: list[int | None] = []
        for field in fields:
            value = stats.get(field)
            if type(value) is int and 0 <= value < UNDERFLOW:
                counts.append(value)
            elif value is None:
                raise NonsenseError(f"this is not beanstalkd: no {field} in its numbers")
            else:
                self.append(f"{owner}: {field} is {str(value)[:30]}, which is not a count")
                counts.append(None)
        return counts


def to_queue(name: str, stats: Stats, server: ServerState | None, doubts: Doubts) -> QueueState:
    """The model of one tube. `server` is as of the same poll. Raises NonsenseError.

    `missing_jobs` is 0 or None, and the age of a head is 0 or None: more takes a memory.
    """
    counts = cast("dict[str, int]", stats)  # checked by the next lines
    try:
        ready, reserved = counts["current-jobs-ready"], counts["current-jobs-reserved"]
        delayed, buried = counts["current-jobs-delayed"], counts["current-jobs-buried"]
        watching, waiting = counts["current-watching"], counts["current-waiting"]
        puts, deletes = counts["total-jobs"], counts["cmd-delete"]
        all_bits = ready | reserved | delayed | buried | watching | waiting | puts | deletes
        is_clean = 0 <= all_bits < UNDERFLOW  # then each of them is: one comparison for eight
    except (KeyError, TypeError):
        is_clean = False
    if not is_clean:
        return _to_doubtful_queue(name, stats, server, doubts)
    native = to_native(stats, MODEL_FIELDS)
    is_default = name == "default"
    if is_default:
        # Every connection uses and watches it until it says otherwise, ours too.
        watching = max(0, watching - 1)
        if native.get("current_using"):
            native["current_using"] -= 1
    left = native.get("pause_time_left")
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
        0 if puts - deletes == ready + reserved + delayed + buried else None,
        count_held(reserved, watching, server, is_default),
        is_default,
        native,
    )


def _to_doubtful_queue(
    name: str, stats: Stats, server: ServerState | None, doubts: Doubts
) -> QueueState:
    """As `to_queue`, where a count is missing or wrong."""
    known = doubts.check(name, stats, TUBE_FIELDS)
    zeros = {field: count or 0 for field, count in zip(TUBE_FIELDS, known, strict=True)}
    queue = to_queue(name, {**stats, **zeros}, server, doubts)
    ready, reserved, delayed, buried, watching, waiting, puts, deletes = known
    is_sure = None not in (reserved, watching)
    return queue._replace(
        ready=ready,
        reserved=reserved,
        delayed=delayed,
        buried=buried,
        consumers=queue.consumers if watching is not None else None,
        idle_consumers=waiting,
        puts=puts,
        deletes=deletes,
        head_ready_age=queue.head_ready_age if ready is not None else None,
        head_buried_age=queue.head_buried_age if buried is not None else None,
        missing_jobs=None,
        held=queue.held if is_sure else None,
    )


def count_held(reserved: int, watching: int, server: ServerState | None, is_default: bool) -> int:
    """The jobs that a tube's consumers may hold, or 0 if at least one of them surely holds none.

    A worker that watches several tubes may hold a job of another tube. All of this tube's workers
    may do so if as many jobs are held elsewhere as workers watch here. The tube `default` is an
    exception: every connection watches it.
    """
    if reserved or is_default:
        return reserved
    elsewhere = (server and server.reserved) or 0
    return elsewhere if elsewhere >= watching else 0


def to_server(stats: Stats, doubts: Doubts) -> ServerState:
    """The model of a server. Raises NonsenseError."""
    counts = doubts.check("server", stats, STATS_FIELDS)
    ready, reserved, delayed, buried, puts, connections, tubes, uptime = counts
    native = to_native(stats, MODEL_STATS)
    native["binlog_bytes"] = count_binlog_bytes(stats)
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
        draining=bool(stats.get("draining", 0)),
        restart_note=describe_restart(stats),
        native=native,
    )


def instance_of(stats: Stats) -> str | None:
    """What tells one process of a server from the next: its id, or before 1.9 its pid."""
    return str(stats.get("id") or stats.get("pid", "")) or None


def to_native(stats: Stats, known: frozenset[str]) -> dict[str, Number]:
    """Every number that the model has no name for, `-` in its name as `_`."""
    return {
        series_name(key): value
        for key, value in stats.items()
        if key not in known and not isinstance(value, str) and -UNDERFLOW < value < UNDERFLOW
    }


@lru_cache(1024)
def series_name(field: str) -> str:
    """A field's name as a node of a metric path: `pause-time-left` is `pause_time_left`."""
    return field.replace("-", "_")


def count_binlog_bytes(stats: Stats) -> int:
    """The size of the binlog on disk: its files are made at their full size. 0 without one."""
    first, last = (count_of(stats, f"binlog-{which}-index") for which in ("oldest", "current"))
    return (last - first + 1) * count_of(stats, "binlog-max-size") if last else 0


def describe_restart(stats: Stats) -> str:
    """What a restart did to the jobs. The first file of a binlog has the number 1."""
    if "binlog-current-index" not in stats:  # before 1.4.3
        return ""
    if not stats["binlog-current-index"]:
        return ", without a binlog: the jobs that it held are gone"
    jobs = sum(count_of(stats, field) for field in JOB_FIELDS)
    return f", and read its binlog: it has {jobs} job{'' if jobs == 1 else 's'}"


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
