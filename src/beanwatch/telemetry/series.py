"""The table of all series that beanwatch sends: path in Graphite, unit and meaning.

The collector and the workers take their paths from it, the dashboards their units, and
docs/reference.md its rows. Paths begin with a prefix, by default `beanwatch`.

There are also native series below `server` and `queue`: every other number of a queue system,
under the server's own name for it, with `_` for `-`.
"""

from typing import NamedTuple

from beanwatch.telemetry.nodes import node, worker_nodes

PREFIX = "beanwatch"
ALL_WORKERS = "all"  # the node of series that are sums over all workers, made by StatsD


class Series(NamedTuple):
    """One measure. Units: jobs, s (seconds), /s (per second), bytes, share (0 to 1), or empty."""

    name: str
    unit: str
    help: str
    is_counter: bool = False  # it only rises, except that a restart sets it to 0
    is_worst: bool = False  # a series of several queues has their highest value, not the sum


class Group(NamedTuple):
    """The series of one kind of object. `stem` is the path before the measure's name."""

    stem: str
    series: tuple[Series, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the measures, in the order of the table."""
        return tuple(one.name for one in self.series)

    def find(self, name: str) -> Series:
        """Return the series of this measure. Raises KeyError."""
        for one in self.series:
            if one.name == name:
                return one
        raise KeyError(f"no series {self.stem}.{name}")


SERVER = Group(
    "<prefix>.server.<server>",
    (
        Series("up", "", "1 if the server answered, 0 if not"),
        Series("connections", "", "connections to the server"),
        Series("uptime", "s", "since the server was started"),
        Series("restarts", "", "restarts seen since the collector's state began", is_counter=True),
        Series("memory", "bytes", "memory that the server uses"),
        Series("queues", "", "queues that exist"),
        Series("ready", "jobs", "ready jobs of all queues"),
        Series("reserved", "jobs", "reserved jobs of all queues"),
        Series("delayed", "jobs", "delayed jobs of all queues"),
        Series("buried", "jobs", "buried jobs of all queues"),
        Series("puts", "jobs", "jobs put since the server's start", is_counter=True),
        Series("draining", "", "1 while it refuses new jobs"),
        Series("missing_jobs", "jobs", "jobs that the server lost: put, and in no state any more"),
    ),
)
QUEUE = Group(
    "<prefix>.queue.<server>.<queue>",
    (
        Series("ready", "jobs", "jobs that could be taken now"),
        Series("reserved", "jobs", "jobs that were taken and are not finished"),
        Series("delayed", "jobs", "jobs that are not due yet"),
        Series("buried", "jobs", "jobs that were given up: buried, failed, dead-lettered"),
        Series("consumers", "", "consumers that are connected; what one is depends on the system"),
        Series("idle_consumers", "", "consumers that wait for a job"),
        Series("puts", "jobs", "jobs put since the queue began to exist", is_counter=True),
        Series("deletes", "jobs", "jobs finished since the queue began to exist", is_counter=True),
        Series("redeliveries", "jobs", "jobs handed out once more", is_counter=True),
        Series("put_rate", "/s", "jobs put"),
        Series("delete_rate", "/s", "jobs finished"),
        Series("head_ready_age", "s", "how long the first ready job has been ready", is_worst=True),
        Series(
            "head_buried_age", "s", "how long the first buried job has been buried", is_worst=True
        ),
        Series(
            "drain_seconds",
            "s",
            "until the queue is empty at the present rates; absent while it grows",
            is_worst=True,
        ),
        Series("consumer_state", "", "who drains it, worst last: {consumer_states}", is_worst=True),
        Series("missing_jobs", "jobs", "jobs that the server lost: put, and in no state any more"),
    ),
)
WORKER = Group(
    "<prefix>.worker.<host>.<name>",
    (
        Series("busy", "share", "share of the time that it spent in jobs"),
        Series("rss", "bytes", "resident memory"),
        Series("reconnects", "", "reconnects to the queue server", is_counter=True),
        Series("touches", "", "renewals of a running job's time", is_counter=True),
        Series("dropped_metrics", "", "values that could not be sent", is_counter=True),
    ),
)
WORKER_SEEN = Group(
    WORKER.stem,
    (
        Series("beat_age", "s", "since its last heartbeat, as the collector saw it"),
        Series("state", "", "as a number: {worker_states}"),
        Series("restarts", "", "starts under its id since it was last told to stop"),
        Series("disk_free", "bytes", "free where jobs get their temporary directories"),
    ),
)
WORKERS = Group(
    "<prefix>.workers",
    (
        Series("live", "", "workers that beat"),
        Series("busy", "", "workers in a job"),
        Series("waiting", "", "workers that were told to wait"),
        Series("blocked", "", "workers without their queue server, or short of disk"),
        Series("hung", "", "workers that beat and make no progress"),
        Series("dead", "", "workers without a heartbeat for 10 s and for three intervals"),
        Series("deploys", "", "times that all workers were told to restart", is_counter=True),
    ),
)
COLLECTOR = Group(
    "<prefix>.collector.<server>",
    (
        Series(
            "success",
            "",
            "1 if the poll read all that it requested and every value was plausible, 0 if not",
        ),
        Series("poll_seconds", "s", "how long the poll took"),
        Series("points", "", "points of this poll"),
        Series("dropped", "", "points lost for good", is_counter=True),
        Series("backlog", "", "points kept for a Graphite that is away"),
        Series("queues", "", "queues that were read"),
        Series("queues_skipped", "", "queues without series of their own: over max_queues"),
        Series("collisions", "", "queues whose node has a hash, as two names would make one node"),
        Series("missed_ticks", "", "polls left out because one took too long", is_counter=True),
    ),
)
TIMERS = (
    Series("duration", "ms", "how long the handler ran"),
    Series("wait", "ms", "how long the job was ready before it was taken"),
)
TIMER_STATS = ("count", "mean", "upper", "upper_50", "upper_95", "upper_99")
GROUPS = (SERVER, QUEUE, WORKER, WORKER_SEEN, WORKERS, COLLECTOR)


def server(prefix: str, server: str, stat: str) -> str:
    """Return the path `<prefix>.server.<server>.<stat>`."""
    return f"{prefix}.server.{server}.{stat}"


def queue(prefix: str, server: str, queue: str, stat: str) -> str:
    """Return the path `<prefix>.queue.<server>.<queue>.<stat>`."""
    return f"{prefix}.queue.{server}.{queue}.{stat}"


def collector(prefix: str, server: str, stat: str) -> str:
    """Return the path `<prefix>.collector.<server>.<stat>`."""
    return f"{prefix}.collector.{server}.{stat}"


def worker(prefix: str, worker: str, stat: str) -> str:
    """Return the path `<prefix>.worker.<host>.<name>.<stat>`."""
    return f"{prefix}.worker.{worker_nodes(worker)}.{stat}"


def workers(prefix: str, stat: str) -> str:
    """Return the path `<prefix>.workers.<stat>` of a count of all workers."""
    return f"{prefix}.workers.{stat}"


def job(prefix: str, server: str, queue: str, job: str, worker: str) -> str:
    """Return `<prefix>.job.<server>.<queue>.<job>.<worker>`, the stem of outcomes and timers.

    `worker` is one node: the worker's id with its dot as `_`, or ALL_WORKERS.
    """
    return f"{prefix}.job.{node(server)}.{node(queue)}.{node(job)}.{node(worker)}"
