"""Find the faults of a RabbitMQ in the answers of its management API."""

from collections.abc import Iterator, Mapping, Sequence

from beanwatch.light_typing import Any
from beanwatch.queues.base import Problem
from beanwatch.queues.rabbitmq.stats import MAX_NUMBER
from beanwatch.words import count

MAX_NAMED = 3  # queues named in one text
MB = 1_000_000
# States of a queue, besides `stopped`, in which nobody can use it. `minority`: from 4.0 on.
DEAD_STATES = frozenset(("down", "crashed", "minority", "stopped"))
Row = Mapping[str, Any]


def find_faults(overview: Row, nodes: Sequence[Row], queues: Sequence[Row]) -> Iterator[Problem]:
    """Yield the alarms, the nodes that are down or apart, and the queues that are down."""
    for node in nodes:
        name = str(node.get("name"))
        for fault in _faults_of_node(node, name):
            yield fault._replace(causes=[f"{fault.text.partition(' ')[0]} {name}"])
    if overview.get("disable_stats") is True:
        yield Problem("warning", "reports no numbers of queues: its statistics are switched off")
    for state in sorted(DEAD_STATES):
        names = [str(row["name"]) for row in queues if row.get("state") == state]
        if names:
            causes = [f"{state} {name}" for name in names]
            yield Problem("critical", f"cannot use {_name(names)}: {state}", causes=causes)
    weak = [
        (len(row["online"]), len(row["members"]), str(row["name"]))
        for row in queues
        if isinstance(row.get("online"), list)
        and isinstance(row.get("members"), list)
        and len(row["online"]) < len(row["members"])
    ]
    if weak:
        online, members, _ = min(weak)
        names = [name for _, _, name in weak]
        worst = f"only {online} of {members} members online"
        causes = [f"lacks {name}" for name in names]
        yield Problem("warning", f"lacks replicas of {_name(names)}: {worst}", causes=causes)


def _faults_of_node(node: Row, name: str) -> Iterator[Problem]:
    if node.get("running") is False:
        yield Problem("critical", f"misses node {name}: it does not run")
        return
    if node.get("mem_alarm") is True:
        used = _megabytes(node, "mem_used", "mem_limit")
        yield Problem("critical", f"blocks all publishers: memory alarm on node {name}{used}")
    if node.get("disk_free_alarm") is True:
        free = _megabytes(node, "disk_free", "disk_free_limit")
        yield Problem("critical", f"holds all publishers: disk alarm on node {name}{free}")
    apart = node.get("partitions")
    if isinstance(apart, list) and apart:
        others = ", ".join(map(str, apart[:MAX_NAMED]))
        yield Problem("critical", f"is split: node {name} lost contact to {others} for a time")
    if node.get("being_drained") is True:
        yield Problem("warning", f"drains node {name}: it is in maintenance mode")


def _megabytes(node: Row, part: str, limit: str) -> str:
    """Return ` (250 of 200 MB used)` or ` (10 MB free, limit 50 MB)`; "" if a value is unknown."""
    values = [node.get(part), node.get(limit)]
    known = [value // MB for value in values if isinstance(value, int) and 0 <= value < MAX_NUMBER]
    if len(known) < len(values):
        return ""
    first, last = known
    if part == "mem_used":
        return f" ({first} of {last} MB used)"
    return f" ({first} MB free, limit {last} MB)"


def _name(names: Sequence[str]) -> str:
    """Return `queue a`, or `5 queues (a, b, c, ...)`."""
    if len(names) == 1:
        return f"queue {names[0]}"
    more = ", ..." if len(names) > MAX_NAMED else ""
    return f"{count(len(names), 'queue')} ({', '.join(sorted(names)[:MAX_NAMED])}{more})"
