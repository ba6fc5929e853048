"""Sidekiq: the jobs and processes of Ruby's Sidekiq 6 to 8 in Redis.

`queue:NAME` is a list: Sidekiq pushes left and pops right. Jobs that wait for their time or for a
retry, and dead ones, are in three sorted sets for all queues together. The dead set is shown as a
queue of failed jobs, `dead-set`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any, NamedTuple
from beanwatch.net.redis_url import Command
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions, FailedJobs
from beanwatch.queues.model import QueueState
from beanwatch.queues.redis import make_system
from beanwatch.queues.redis.layout import LayoutReading, describe_dead
from beanwatch.queues.redis.replies import (
    LATEST,
    age_of,
    count_of,
    json_of,
    list_of,
    time_of,
)

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

DEAD_SET = "dead-set"
# The hash of the jobs that a process runs: `workers` up to 6.4, `work` later.
WORK = ("workers", "work")


class Capsule(NamedTuple):
    """The threads of one process that take jobs of the same queues."""

    queues: frozenset[str]
    threads: int


class Process(NamedTuple):
    """A process of Sidekiq, by its last heartbeat. A quiet one takes no new jobs.

    Up to Sidekiq 8.0, it does not tell how many threads each of its capsules has. So there, all of
    its threads are one capsule.
    """

    capsules: tuple[Capsule, ...]
    running: Mapping[str, int]  # jobs, by queue
    busy: int  # threads
    is_quiet: bool = False

    def threads_of(self, queue: str) -> tuple[int, int]:
        """Return how many threads take jobs of a queue, and how many of these may be busy."""
        mine = [one for one in self.capsules if queue in one.queues]
        threads = sum(one.threads for one in mine)
        if len(mine) == len(self.capsules):
            return threads, self.busy
        queues = frozenset[str]().union(*(one.queues for one in mine))
        return threads, sum(self.running.get(name, 0) for name in queues)


class SidekiqReading(LayoutReading):
    """Reads the queues that Sidekiq has registered. A consumer is a thread of a live process.

    The hash of a process expires 60 s after its last heartbeat.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._registered: list[str] = []
        self._processes: list[Process] | None = None  # None: unknown
        self._running: Counter[str] | None = None  # running jobs by queue
        self._sets: dict[str, int | None] = {}
        self._native: dict[str, int | float] = {}
        self._oldest_dead: float | None = None

    def start_commands(self) -> Sequence[Command]:
        """Ask for the queues, the processes, the three sets and Sidekiq's counters."""
        return [
            ("SMEMBERS", self._key("queues")),
            ("SMEMBERS", self._key("processes")),
            ("ZCARD", self._key("schedule")),
            ("ZCARD", self._key("retry")),
            ("ZCARD", self._key("dead")),
            ("ZRANGE", self._key("dead"), 0, 0, "WITHSCORES"),
            ("GET", self._key("stat:processed")),
            ("GET", self._key("stat:failed")),
        ]

    def start(self, replies: Sequence[Any]) -> None:
        """Take these, and read the processes. Raises ServerError."""
        queues, processes, *counts, oldest, processed, failed = replies
        if not isinstance(queues, list):
            self.poll.doubt(self._key("queues"), queues)
        self._registered = self.poll.names(list_of(queues), self._key("queues"))
        for name, reply in zip(("schedule", "retry", "dead"), counts, strict=True):
            self._sets[name] = self.poll.count(reply, self._key(name))
        first = list_of(oldest)
        if len(first) == 2:
            self._oldest_dead = age_of(self.poll.now, time_of(first[1]))
        native = {
            "processed": count_of(processed),
            "failed": count_of(failed),
            "scheduled": self._sets["schedule"],
            "retries": self._sets["retry"],
        }
        self._native = {name: value for name, value in native.items() if value is not None}
        if not isinstance(processes, list):
            self.poll.doubt(self._key("processes"), processes)
            return
        self._read_processes(self.poll.names(processes, self._key("processes")))

    def names(self) -> list[str]:
        """Return the names of the queues that Sidekiq has registered, and that of the dead set."""
        return [*self._registered, *({DEAD_SET} - set(self._registered))]

    def read(self, names: Sequence[str]) -> Iterator[QueueState]:
        """Read the lengths of the lists, and their first jobs if their age is wanted."""
        registered = set(self._registered)
        lists = [name for name in names if name != DEAD_SET or name in registered]
        commands: list[Command] = []
        for name in lists:
            commands.append(("LLEN", self._key(f"queue:{name}")))
            if "ready" in self.poll.heads:
                commands.append(("LINDEX", self._key(f"queue:{name}"), -1))
        replies = self.poll.ask(commands) if commands else []
        width = len(commands) // len(lists) if lists else 0
        for number, name in enumerate(lists):
            state = self._state_of(name, replies[number * width : (number + 1) * width])
            if name in registered or state.jobs or state.consumers:
                yield state
        if len(lists) < len(names):
            yield QueueState(
                DEAD_SET,
                ready=0,
                reserved=0,
                buried=self._sets["dead"],
                consumers=0,
                idle_consumers=0,
                head_buried_age=self._oldest_dead if "buried" in self.poll.heads else None,
                is_dead_letter=True,
            )

    def server_fields(self) -> dict[str, Any]:
        """Return the counts of the sets, which are for all queues together."""
        schedule, retry = self._sets["schedule"], self._sets["retry"]
        delayed = None if schedule is None or retry is None else schedule + retry
        running = None if self._running is None else self._running.total()
        return {
            "queues": len(self._registered),
            "reserved": running,
            "delayed": delayed,
            "buried": self._sets["dead"],
        }

    def native(self) -> dict[str, int | float]:
        """Return Sidekiq's counters of jobs since it was installed, and the sizes of its sets."""
        return self._native

    def _read_processes(self, names: Sequence[str]) -> None:
        commands: list[Command] = []
        for name in names:
            key = self._key(name)
            commands.append(("HMGET", key, "info", "busy", "quiet"))
            commands += [("HVALS", f"{key}:{kind}") for kind in WORK]
        replies = self.poll.ask(commands) if commands else []
        processes: list[Process] = []
        running: Counter[str] = Counter()
        dead: dict[str, tuple[str, ...]] = {}
        is_known = True
        for number, name in enumerate(names):
            fields, *work = replies[3 * number : 3 * number + 3]
            if not any(list_of(fields)):
                dead[name] = ()
                continue
            queues = [queue_of(job) for part in work for job in list_of(part)]
            process = parse_process(fields, Counter(queue for queue in queues if queue is not None))
            if process is None or None in queues:
                self.poll.doubt(self._key(name), fields if process is None else work)
                is_known = False
                continue
            processes.append(process)
            running.update(process.running)
        self._processes, self._running = (processes, running) if is_known else (None, None)
        self._native["processes"] = len(processes)
        if dead:
            self.poll.problems.append(describe_dead("process", dead))

    def _state_of(self, name: str, part: Sequence[Any]) -> QueueState:
        ready = self.poll.count(part[0], self._key(f"queue:{name}"))
        age = age_of(self.poll.now, enqueued_at(part[1])) if len(part) > 1 else None
        if self._processes is None or self._running is None:
            return QueueState(name, ready=ready, head_ready_age=age)
        found = [one.threads_of(name) for one in self._processes if not one.is_quiet]
        listening = [(threads, busy) for threads, busy in found if threads]
        reserved = self._running[name]
        return QueueState(
            name,
            ready=ready,
            head_ready_age=age,
            reserved=reserved,
            consumers=sum(threads for threads, _ in listening),
            idle_consumers=sum(max(0, threads - busy) for threads, busy in listening),
            held=max(sum(busy for _, busy in listening), reserved),
        )

    def _key(self, name: str) -> str:
        return self.prefix + name


def parse_process(reply: Any, running: Mapping[str, int]) -> Process | None:
    """Return a process from the answer to `HMGET KEY info busy quiet`; None if it describes none.

    `running` has the number of its running jobs by queue. From Sidekiq 8.1 on, a process lists its
    threads and queues by capsule, and no longer all together.
    """
    fields = list_of(reply)
    if len(fields) != 3:
        return None
    info, busy = json_of(fields[0]), count_of(fields[1])
    if info is None or busy is None:
        return None
    parts = info.get("capsules")
    if isinstance(parts, dict) and parts:
        capsules = [parse_capsule(_weights_of(one), one) for one in parts.values()]
    else:
        capsules = [parse_capsule(info.get("queues"), info)]
    known = tuple(one for one in capsules if one is not None)
    if len(known) < len(capsules):
        return None
    return Process(known, running, busy, fields[2] in (b"true", b"1"))


def _weights_of(capsule: Any) -> list[Any] | None:
    weights = capsule.get("weights") if isinstance(capsule, dict) else None
    return list(weights) if isinstance(weights, dict) else None


def parse_capsule(queues: Any, info: Any) -> Capsule | None:
    """Return a capsule with these queues and the threads in `info`; None if it describes none."""
    threads = info.get("concurrency") if isinstance(info, dict) else None
    if not isinstance(queues, list) or isinstance(threads, bool) or not isinstance(threads, int):
        return None
    return Capsule(frozenset(name for name in queues if isinstance(name, str)), max(0, threads))


def queue_of(reply: Any) -> str | None:
    """Return the queue of a running job, from a value of a process's hash; None if it has none."""
    name = (json_of(reply) or {}).get("queue")
    return name if isinstance(name, str) else None


def enqueued_at(reply: Any) -> float | None:
    """Return when a job was put into its queue, in seconds since 1970; None if it does not say."""
    payload = json_of(reply)
    return sidekiq_time(payload.get("enqueued_at")) if payload else None


def sidekiq_time(value: Any) -> float | None:
    """Return a time of a job in seconds since 1970. From Sidekiq 8 on they are milliseconds."""
    in_milliseconds = isinstance(value, int | float) and value > LATEST
    return time_of(value, 0.001 if in_milliseconds else 1.0)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of Sidekiq on this server. They connect at first use."""
    from beanwatch.queues.redis.sidekiq_actions import SidekiqActions

    return SidekiqActions(server, timeout)


SYSTEM = make_system(
    "sidekiq",
    SidekiqReading,
    queue_fields=(*("ready", "reserved", "consumers", "idle_consumers", "head_ready_age"),),
    server_fields=("ready", "reserved", "delayed", "buried"),
    job_fact="class",
    native_server=(
        ("processed", "jobs that ended since the first start, failed ones too"),
        ("failed", "runs that failed since the first start"),
        ("scheduled", "jobs whose time has not come"),
        ("retries", "failed jobs that are tried again later"),
        ("processes", "processes of Sidekiq that are registered"),
    ),
    consumers="threads of live processes that take jobs",
    actions=("peek", "list_jobs", "kick", "kick_jobs", "delete_jobs", "empty", "locate"),
    open_actions=open_actions,
    failed=FailedJobs("dead job", "retry"),
    empties=("ready", "buried"),
)
