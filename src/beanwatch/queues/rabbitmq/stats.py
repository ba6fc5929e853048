"""Parse the answers of the management API, and fill the model. Nothing here does I/O."""

import re
from collections.abc import Iterable, Mapping, Sequence

from beanwatch.light_typing import Any
from beanwatch.queues.model import Number, QueueState, ServerState
from beanwatch.queues.rabbitmq.dead_letters import DeadLetters

MAX_NUMBER = 2**63
MAX_NAME = 255  # bytes; AMQP allows no longer names
_VERSION = re.compile("[A-Za-z0-9.+~_-]{1,64}")
TOLERANCE = 86_400.0  # seconds by which the clock of a publisher may be ahead of RabbitMQ's

QUEUE_COLUMNS = (
    *("name", "state", "arguments", "effective_policy_definition"),
    *("messages_ready", "messages_unacknowledged", "consumers", "consumer_capacity"),
    *("consumer_utilisation", "memory", "message_bytes", "online", "members"),
    *("message_stats.publish", "message_stats.ack", "message_stats.redeliver"),
    *("message_stats.deliver_no_ack", "message_stats.get_no_ack"),
)
HEAD_COLUMN = "head_message_timestamp"
OVERVIEW_COLUMNS = (
    *("rabbitmq_version", "disable_stats", "rates_mode", "object_totals.connections"),
)
NODE_COLUMNS = (
    *("name", "running", "uptime", "os_pid", "mem_used", "mem_limit", "mem_alarm", "disk_free"),
    *("disk_free_limit", "disk_free_alarm", "partitions", "being_drained", "fd_used"),
)
# Native numbers. Those of the server are sums over its nodes; `disk_free` is the lowest one.
QUEUE_NATIVE = ("consumer_capacity", "memory", "message_bytes")
SERVER_NATIVE = ("mem_limit", "fd_used", "disk_free")
Row = Mapping[str, Any]


class ImplausibleValues(list[str]):
    """Collects a text for each value that cannot be right, and was left out for that reason."""

    def read(self, owner: str, row: Row, field: str) -> int | None:
        """Return a count; None if the field is missing, or is no count and was noted.

        `owner` is the name of a queue, or "server".
        """
        value = row.get(field)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_NUMBER:
            return value
        self.append(f"{owner}: {field} is {repr(value)[:40]}, which is not a count")
        return None


def is_name(value: Any) -> bool:
    """Return True for a text that can be the name of a queue or of a node."""
    try:
        return isinstance(value, str) and 0 < len(value.encode()) <= MAX_NAME
    except UnicodeEncodeError:
        return False


def is_version(value: Any) -> bool:
    """Return True for a text that can be the version of a RabbitMQ."""
    return isinstance(value, str) and bool(_VERSION.fullmatch(value))


# -- queues


def to_queue(
    row: Row,
    implausible: ImplausibleValues,
    now: float | None = None,
    *,
    has_counters: bool | None = None,
) -> QueueState:
    """Convert an entry of `/api/queues/VHOST` to a QueueState, before `set_dead_letters`.

    A number that is missing is unknown: a new quorum queue has none for some seconds. `now` is the
    Unix time (s) of RabbitMQ, for the age of the first job. `has_counters` is false if RabbitMQ
    counts no messages (`management.rates_mode = none`), None if that is not known.
    """
    name = row["name"]
    ready = implausible.read(name, row, "messages_ready")
    reserved = implausible.read(name, row, "messages_unacknowledged")
    consumers = implausible.read(name, row, "consumers")
    puts = deletes = redeliveries = None
    if has_counters or (has_counters is None and row.get("message_stats")):
        puts, deletes, redeliveries = _counters(name, row, implausible)
    capacity = _capacity(row)
    # RabbitMQ delivers a job at once if the prefetch of a consumer has room for it. So if jobs are
    # ready, none has. `consumer_capacity` does not tell that: it is an average over past times.
    has_room = False if ready and reserved and consumers else None
    native: dict[str, Number] = {}
    if capacity is not None:
        native["consumer_capacity"] = capacity
    for field in QUEUE_NATIVE[1:]:
        if (value := implausible.read(name, row, field)) is not None:
            native[field] = value
    return QueueState(
        name,
        ready=ready,
        reserved=reserved,
        buried=0,
        consumers=consumers,
        puts=puts,
        deletes=deletes,
        redeliveries=redeliveries,
        head_ready_age=_head_age(name, row, ready, now, implausible),
        held=reserved,
        has_room=has_room,
        native=native,
    )


def _counters(
    name: str, row: Row, implausible: ImplausibleValues
) -> tuple[int | None, int | None, int | None]:
    """Return puts, deletes and redeliveries.

    RabbitMQ leaves a counter out until its first event. Without statistics of the queue (`memory`
    is one of them) it is unknown.
    """
    stats = row.get("message_stats", {})
    if not isinstance(stats, dict) or "memory" not in row:
        return None, None, None
    if not stats:
        return 0, 0, 0
    fields = ("publish", "ack", "deliver_no_ack", "get_no_ack", "redeliver")
    counts = [implausible.read(name, stats, field) if field in stats else 0 for field in fields]
    puts, *ended, redeliveries = counts
    known = [count for count in ended if count is not None]
    return puts, sum(known) if len(known) == len(ended) else None, redeliveries


def _capacity(row: Row) -> float | None:
    """Return the share of time in which a consumer could take a job at once; None if unknown."""
    for field in ("consumer_capacity", "consumer_utilisation"):
        value: Any = row.get(field)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and 0 <= value <= 1:
            return float(value)
    return None


def _head_age(
    name: str, row: Row, ready: int | None, now: float | None, implausible: ImplausibleValues
) -> float | None:
    """Return the age of the first ready job by its timestamp; None if it has no usable one."""
    sent: float | None = implausible.read(name, row, HEAD_COLUMN)
    if sent is None or now is None or not ready:
        return None
    if sent > now + TOLERANCE:
        sent /= 1000  # some publishers write milliseconds; AMQP says seconds
    return max(0.0, now - sent) if sent <= now + TOLERANCE else None


def set_dead_letters(queues: dict[str, QueueState], found: DeadLetters) -> None:
    """Set `buried`, `is_dead_letter` and `puts` of the queues that dead letters concern.

    Each dead letter counts once: as buried of its source if its dead-letter queue serves only that
    one, else as buried of the dead-letter queue.
    """
    for name in found.receivers | found.sources.keys() | found.own.keys():
        queue = queues[name]
        queues[name] = queue._replace(
            buried=_buried(name, queues, found),
            is_dead_letter=name in found.sources,
            # RabbitMQ does not count dead letters as published.
            puts=None if name in found.receivers else queue.puts,
        )


def _buried(name: str, queues: Mapping[str, QueueState], found: DeadLetters) -> int | None:
    counted = list(found.own.get(name, ()))
    if len(found.sources.get(name, ())) > 1:
        counted.append(name)
    total = 0
    for queue in counted:
        state = queues[queue]
        if state.ready is None or state.reserved is None:
            return None
        total += state.ready + state.reserved
    return total


# -- the server


def to_server(
    overview: Row, nodes: Sequence[Row], instance: str | None, implausible: ImplausibleValues
) -> ServerState:
    """Convert `/api/overview` and `/api/nodes` to a ServerState without counts of jobs.

    `uptime` is that of the node that was started last.
    """
    up = running(nodes)
    counts = {
        field: [implausible.read("server", node, field) for node in up]
        for field in (*SERVER_NATIVE, "mem_used", "uptime")
    }
    native: dict[str, Number] = {}
    for field in SERVER_NATIVE:
        value = (_least if field == "disk_free" else _sum)(counts[field])
        if value is not None:
            native[field] = value
    youngest = _least(counts["uptime"])
    version = overview.get("rabbitmq_version")
    totals = overview.get("object_totals")
    return ServerState(
        version=version if isinstance(version, str) else None,
        instance=instance,
        uptime=None if youngest is None else youngest / 1000,
        connections=implausible.read("server", totals, "connections")
        if isinstance(totals, dict)
        else None,
        memory=_sum(counts["mem_used"]),
        native=native,
    )


def with_totals(server: ServerState, queues: Mapping[str, QueueState]) -> ServerState:
    """Add the number of queues and the sums of their jobs. `queues` are all of the vhost."""
    return server._replace(
        queues=len(queues),
        ready=_sum([queue.ready for queue in queues.values()]),
        reserved=_sum([queue.reserved for queue in queues.values()]),
        buried=_sum([queue.buried for queue in queues.values()]),
    )


def running(nodes: Iterable[Row]) -> list[Row]:
    """Return the nodes of the cluster that run."""
    return [node for node in nodes if node.get("running") is True]


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _least(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if known and len(known) == len(values) else None


def start_of(node: Row, now: float) -> float | None:
    """Return the Unix time (s) at which a node was started; None if unknown."""
    uptime = node.get("uptime")
    if isinstance(uptime, int) and 0 <= uptime < MAX_NUMBER:
        return now - uptime / 1000
    return None
