"""The names of all series: one place decides what a path in Graphite looks like."""

import re

from beanwatch.net.address import BEANSTALKD_PORT, Address

PREFIX = "beanwatch"
_NOT_IN_A_NODE = re.compile(r"[^A-Za-z0-9_-]")

SERVER_DERIVED = ("up", "draining", "restarts", "binlog_bytes", "rejected_puts", "drift")
QUEUE_DERIVED = (
    "put_rate",
    "delete_rate",
    "head_ready_age",
    "head_buried_age",
    "drain_seconds",
    "consumer_state",
    "drift",
)
WORKER_OWN = ("busy", "rss", "reconnects", "touches", "dropped_metrics")
WORKER_SEEN = ("beat_age", "state", "restarts", "disk_free")
WORKERS = ("live", "busy", "waiting", "blocked", "hung", "dead", "deploys")
COLLECTOR = (
    "success",
    "poll_seconds",
    "points",
    "dropped",
    "backlog",
    "queues",
    "queues_skipped",
    "collisions",
    "missed_ticks",
)
OUTCOMES = ("ok", "retry", "buried", "discarded", "timeout", "lost", "poison", "invalid")
TIMERS = ("duration", "wait")
TIMER_STATS = ("count", "mean", "upper", "upper_50", "upper_95", "upper_99")


def node(name: str) -> str:
    """One path node: every character outside `[A-Za-z0-9_-]` becomes `_`; never empty."""
    return _NOT_IN_A_NODE.sub("_", name) or "_"


def worker_nodes(worker: str) -> str:
    """The two nodes of a worker id `<host>.<name>`. Neither part holds a dot of its own."""
    host, _, name = worker.partition(".")
    return f"{node(host)}.{node(name)}"


def server_node(address: Address, name: str | None, here: str) -> str:
    """A server's node: its configured name, else its host; `here`, the short host name, if local.

    The port is appended unless it is beanstalkd's own, since a host may run several.
    """
    if name:
        return node(name)
    if address.path:
        return node(here)
    host = node(here if address.is_local else address.host)
    return host if address.port == BEANSTALKD_PORT else f"{host}_{address.port}"


def server(prefix: str, server: str, stat: str) -> str:
    """`<prefix>.server.<server>.<stat>`."""
    return f"{prefix}.server.{server}.{stat}"


def queue(prefix: str, server: str, queue: str, stat: str) -> str:
    """`<prefix>.queue.<server>.<queue>.<stat>`."""
    return f"{prefix}.queue.{server}.{queue}.{stat}"


def collector(prefix: str, server: str, stat: str) -> str:
    """`<prefix>.collector.<server>.<stat>`."""
    return f"{prefix}.collector.{server}.{stat}"


def worker(prefix: str, worker: str, stat: str) -> str:
    """`<prefix>.worker.<host>.<name>.<stat>`."""
    return f"{prefix}.worker.{worker_nodes(worker)}.{stat}"


def workers(prefix: str, stat: str) -> str:
    """`<prefix>.workers.<stat>`: counts over all workers."""
    return f"{prefix}.workers.{stat}"


def job(prefix: str, queue: str, job: str, worker: str) -> str:
    """`<prefix>.job.<queue>.<job>.<host>.<name>`: the stem of a job's outcomes and timers."""
    return f"{prefix}.job.{node(queue)}.{node(job)}.{worker_nodes(worker)}"
