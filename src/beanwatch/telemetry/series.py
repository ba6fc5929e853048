"""The table of all series that beanwatch sends: path in Graphite, unit and meaning.

The collector and the workers take the paths from it, the dashboards the units, and
docs/reference.md the texts. All paths begin with a prefix, by default `beanwatch`.

Series that Prometheus can scrape have their name there too. Several series may share one, and a
label tells them apart: `beanwatch_queue_jobs{state="ready"}`.

The groups `server` and `queue` also have series that are not in the table: all other numbers that
the queue system reports. Their name is the system's own, with `_` instead of `-`.
"""

from beanwatch.light_typing import NamedTuple
from beanwatch.telemetry.nodes import node, worker_nodes

PREFIX = "beanwatch"
ALL_WORKERS = "all"  # the worker's node in series that StatsD sums over all workers

# The measures of queues that `collect --series essential` sends. All alert rules can do with them.
ESSENTIAL = frozenset(
    (
        *("ready", "reserved", "buried", "consumers"),
        *("put_rate", "delete_rate", "head_ready_age", "consumer_state"),
    )
)
# Numbers under a server's own names that it sends all the same: an alert rule needs them.
ESSENTIAL_NATIVE = frozenset(("rejected_puts",))
# Series of the collector that `--series essential` leaves out: no alert rule needs them.
SPARED = frozenset(("points", "collisions", "queues_skipped"))


class Series(NamedTuple):
    """One series of a group: its last node, its unit and its meaning.

    Units are jobs, s (seconds), ms, /s (per second), bytes, share (0 to 1), or empty.
    """

    name: str
    unit: str
    help: str
    is_counter: bool = False  # it only rises, but restarts at 0 with its process
    is_worst: bool = False  # the total over several queues is their maximum, not their sum
    prometheus: str = ""  # its name for Prometheus, without `beanwatch_`; "": it is not exported
    label: tuple[str, str] | None = None  # a label that tells it from others with the same name
    # It is a number in Graphite, and in Prometheus a sample for each state: 1 for the present one.
    is_state: bool = False


class Group(NamedTuple):
    """All series of one kind of object. `stem` is the path before the name of the series."""

    stem: str
    series: tuple[Series, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the series, in the order of the table."""
        return tuple(one.name for one in self.series)

    def find(self, name: str) -> Series:
        """Return the series with this name. Raises KeyError if the group has none."""
        for one in self.series:
            if one.name == name:
                return one
        raise KeyError(f"no series {self.stem}.{name}")


SERVER = Group(
    "<prefix>.server.<server>",
    (
        Series("up", "", "1 if the server answered, 0 if not", prometheus="server_up"),
        Series("connections", "", "connections to the server", prometheus="server_connections"),
        Series("uptime", "s", "time since the server was started"),
        Series(
            "restarts",
            "",
            "restarts of the server that the collector has seen",
            is_counter=True,
            prometheus="server_restarts_total",
        ),
        Series("memory", "bytes", "memory that the server uses", prometheus="server_memory_bytes"),
        Series("queues", "", "queues that exist", prometheus="server_queues"),
        Series(
            "ready",
            "jobs",
            "ready jobs of all queues",
            prometheus="server_jobs",
            label=("state", "ready"),
        ),
        Series(
            "reserved",
            "jobs",
            "reserved jobs of all queues",
            prometheus="server_jobs",
            label=("state", "reserved"),
        ),
        Series(
            "delayed",
            "jobs",
            "delayed jobs of all queues",
            prometheus="server_jobs",
            label=("state", "delayed"),
        ),
        Series(
            "buried",
            "jobs",
            "buried jobs of all queues",
            prometheus="server_jobs",
            label=("state", "buried"),
        ),
        Series(
            "puts",
            "jobs",
            "jobs put since the server's start",
            is_counter=True,
            prometheus="server_puts_total",
        ),
        Series(
            "draining",
            "",
            "1 while the server refuses new jobs, else 0",
            prometheus="server_draining",
        ),
        Series(
            "missing_jobs",
            "jobs",
            "jobs that the server lost: put, and in no state any more",
            prometheus="server_missing_jobs",
        ),
        Series(
            "problem",
            "",
            "the worst fault that the server itself shows: 0 none, 1 a warning, 2 critical",
            prometheus="server_problem",
        ),
    ),
)
QUEUE = Group(
    "<prefix>.queue.<server>.<queue>",
    (
        Series(
            "ready",
            "jobs",
            "jobs that a consumer could reserve now",
            prometheus="queue_jobs",
            label=("state", "ready"),
        ),
        Series(
            "reserved",
            "jobs",
            "jobs that consumers have reserved and not yet finished",
            prometheus="queue_jobs",
            label=("state", "reserved"),
        ),
        Series(
            "delayed",
            "jobs",
            "jobs whose delay has not passed yet",
            prometheus="queue_jobs",
            label=("state", "delayed"),
        ),
        Series(
            "buried",
            "jobs",
            "jobs that are not tried again: buried, failed, dead-lettered",
            prometheus="queue_jobs",
            label=("state", "buried"),
        ),
        Series(
            "consumers",
            "",
            "connected consumers, as the queue system counts them",
            prometheus="queue_consumers",
            label=("state", "connected"),
        ),
        Series(
            "idle_consumers",
            "",
            "consumers that are waiting for a job",
            prometheus="queue_consumers",
            label=("state", "idle"),
        ),
        Series(
            "puts",
            "jobs",
            "jobs put since the queue was created",
            is_counter=True,
            prometheus="queue_puts_total",
        ),
        Series(
            "deletes",
            "jobs",
            "jobs finished since the queue was created",
            is_counter=True,
            prometheus="queue_deletes_total",
        ),
        Series(
            "redeliveries",
            "jobs",
            "jobs delivered again after an earlier delivery",
            is_counter=True,
            prometheus="queue_redeliveries_total",
        ),
        Series("put_rate", "/s", "jobs put"),
        Series("delete_rate", "/s", "jobs finished"),
        Series(
            "head_ready_age",
            "s",
            "how long the first ready job has been ready",
            is_worst=True,
            prometheus="queue_head_ready_age_seconds",
        ),
        Series(
            "head_buried_age",
            "s",
            "how long the first buried job has been buried",
            is_worst=True,
            prometheus="queue_head_buried_age_seconds",
        ),
        Series(
            "drain_seconds",
            "s",
            "time until the queue is empty at the current rates; absent while it grows",
            is_worst=True,
            prometheus="queue_drain_seconds",
        ),
        Series(
            "consumer_state",
            "",
            "whether consumers keep up, the worst last: {consumer_states}",
            is_worst=True,
            prometheus="queue_consumer_state",
            is_state=True,
        ),
        Series(
            "workers_needed",
            "",
            "workers that it takes to run all jobs that are put or tried again, and to drain those "
            "that are ready now within 300 s; absent if no worker has told how long a run takes",
            prometheus="queue_workers_needed",
        ),
        Series(
            "missing_jobs",
            "jobs",
            "jobs that the server lost: put, and in no state any more",
            prometheus="queue_missing_jobs",
        ),
    ),
)
WORKER = Group(
    "<prefix>.worker.<host>.<name>",
    (
        Series(
            "busy",
            "share",
            "share of its time that the worker spent in jobs; above 1 if it runs several at once",
        ),
        Series("rss", "bytes", "resident memory", prometheus="worker_memory_bytes"),
        Series(
            "reconnects",
            "",
            "reconnects to the queue server",
            is_counter=True,
            prometheus="worker_reconnects_total",
        ),
        Series(
            "touches",
            "",
            "renewals of a running job's time to run (TTR)",
            is_counter=True,
            prometheus="worker_touches_total",
        ),
        Series(
            "dropped_metrics",
            "",
            "metric values that could not be sent",
            is_counter=True,
            prometheus="worker_dropped_metrics_total",
        ),
    ),
)
WORKER_SEEN = Group(
    WORKER.stem,
    (
        Series("beat_age", "s", "time since the worker's last heartbeat, as the collector sees it"),
        Series(
            "state",
            "",
            "the worker's state as a number: {worker_states}",
            prometheus="worker_state",
            is_state=True,
        ),
        Series(
            "restarts",
            "",
            "restarts of the worker after a crash or failure",
            prometheus="worker_restarts",
        ),
        Series(
            "recycles",
            "",
            "exits of the worker at a limit of its own, such as --max-memory",
            is_counter=True,
            prometheus="worker_recycles_total",
        ),
        Series(
            "disk_free",
            "bytes",
            "free disk space for the jobs' temporary directories",
            prometheus="worker_disk_free_bytes",
        ),
    ),
)
WORKERS = Group(
    "<prefix>.workers",
    (
        Series(
            "success",
            "",
            "1 if the heartbeats could be read, 0 if not",
            prometheus="workers_success",
        ),
        Series("live", "", "workers with a current heartbeat", prometheus="workers_live"),
        Series("busy", "", "workers that are running a job"),
        Series("waiting", "", "workers that an operator has paused"),
        Series(
            "blocked",
            "",
            "workers without a connection to their queue server, or short of disk space",
        ),
        Series("hung", "", "workers with a current heartbeat that make no progress"),
        Series(
            "dead", "", "workers without a heartbeat for 10 s and for three heartbeat intervals"
        ),
        Series("deploys", "", "requests to restart all workers", is_counter=True),
    ),
)
WORKER_GROUP = Group(
    "<prefix>.worker_group.<id or glob>",
    (
        Series(
            "missing",
            "",
            "live workers that a glob in `workers.expected` lacks; 1 if an id there has no record",
            prometheus="worker_group_missing",
        ),
    ),
)
COLLECTOR = Group(
    "<prefix>.collector.<server>",
    (
        Series(
            "success",
            "",
            "1 if the poll read all that it requested and every value was plausible, 0 if not",
            prometheus="collector_poll_success",
        ),
        Series(
            "queues_success",
            "",
            "1 if the last poll of the queues read them, 0.5 if some numbers are missing, else 0",
            prometheus="collector_queues_success",
        ),
        Series(
            "poll_seconds",
            "s",
            "how long the poll took",
            prometheus="collector_poll_duration_seconds",
        ),
        Series("points", "", "points that this poll made"),
        Series(
            "dropped", "", "points that were dropped and never reached Graphite", is_counter=True
        ),
        Series("backlog", "", "points that wait until Graphite accepts them"),
        Series("queues", "", "queues that were read", prometheus="collector_queues"),
        Series(
            "queues_skipped",
            "",
            "queues beyond max_queues, which get no separate series",
            prometheus="collector_queues_skipped",
        ),
        Series(
            "collisions",
            "",
            "queues with a hash in their node, since another queue has the same node",
        ),
        Series(
            "missed_ticks",
            "",
            "polls skipped because an earlier poll took too long",
            is_counter=True,
            prometheus="collector_missed_polls_total",
        ),
    ),
)
TIMERS = (
    Series("duration", "ms", "how long the handler ran"),
    Series("wait", "ms", "how long the job was ready before it was reserved"),
)
TIMER_STATS = ("count", "mean", "upper", "upper_50", "upper_95", "upper_99")
GROUPS = (SERVER, QUEUE, WORKER, WORKER_SEEN, WORKERS, WORKER_GROUP, COLLECTOR)


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


def worker_group(prefix: str, group: str, stat: str) -> str:
    """Return the path `<prefix>.worker_group.<id or glob>.<stat>`."""
    return f"{prefix}.worker_group.{group}.{stat}"


def job(prefix: str, server: str, queue: str, job: str, worker: str) -> str:
    """Return `<prefix>.job.<server>.<queue>.<job>.<worker>`, the stem of outcomes and timers.

    `worker` is one node: the worker's id with its dot as `_`, or ALL_WORKERS.
    """
    return f"{prefix}.job.{node(server)}.{node(queue)}.{node(job)}.{node(worker)}"
