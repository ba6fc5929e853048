"""RQ: the jobs and workers of Python's RQ in Redis.

RQ pushes the id of a job at the right end of a list and pops at the left one. The rest of the job
is a hash. Jobs that run, wait for their time or have failed are in sorted sets, by queue.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from beanwatch.light_typing import TYPE_CHECKING, Any, NamedTuple
from beanwatch.net.address import AddressError
from beanwatch.net.redis_url import Command
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions, Problem
from beanwatch.queues.model import QueueState
from beanwatch.queues.redis import make_system
from beanwatch.queues.redis.layout import LayoutReading, describe_dead
from beanwatch.queues.redis.replies import age_of, count_of, list_of, name_of, text_of
from beanwatch.words import count

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

RQ_PREFIX = "rq:"
IDLE = ("idle", "started")  # the states of a worker that waits for a job
# The keys that are counted for each queue, in the order of the commands.
COUNTED = (*("queue", "wip", "scheduled", "failed", "failed", "deferred", "finished", "scheduled"),)
OVERDUE = 60  # seconds after its time that a scheduled job is called overdue


class WorkerKeys(NamedTuple):
    """The fields of a worker's hash. `state` is "" without a hash: its heartbeat has expired."""

    state: str = ""
    has_said_goodbye: bool = False


class Head(NamedTuple):
    """Where the first job of a queue is, and the field with the time from which it waits."""

    queue: str
    state: str
    job_id: str
    field: str


class RqReading(LayoutReading):
    """Reads the queues that RQ has registered. A worker is a consumer while its hash exists.

    RQ gives the hash of a worker a time to live, and renews it with each heartbeat.
    """

    default_prefix = RQ_PREFIX

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._registered: list[str] = []
        self._is_suspended: bool | None = None
        self._gone: dict[str, set[str]] = {}  # dead worker: the queues that still list it
        self._overdue = 0

    def start_commands(self) -> Sequence[Command]:
        """Ask for the queues, and whether `rq suspend` has suspended all workers."""
        return [("SMEMBERS", f"{self.prefix}queues"), ("EXISTS", f"{self.prefix}suspended")]

    def start(self, replies: Sequence[Any]) -> None:
        """Take the names of the queues; RQ registers the keys of their lists."""
        listed, suspended = replies
        key = f"{self.prefix}queues"
        if not isinstance(listed, list):
            self.poll.doubt(key, listed)
        self._registered = self.poll.names(list_of(listed), key, f"{self.prefix}queue:")
        known = self.poll.count(suspended, f"{self.prefix}suspended")
        self._is_suspended = None if known is None else bool(known)

    def names(self) -> list[str]:
        """Return the names of the queues that RQ has registered."""
        return self._registered

    def read(self, names: Sequence[str]) -> Iterator[QueueState]:
        """Read the queues, then the workers and the first jobs that they name."""
        per_queue = list(self.poll.ask(list(self._queue_commands(names))))
        width = len(per_queue) // len(names) if names else 0
        parts = {
            name: per_queue[number * width : (number + 1) * width]
            for number, name in enumerate(names)
        }
        states = {name: self._state_of(name, part) for name, part in parts.items()}
        members = {name: self._workers_of(name, part[0]) for name, part in parts.items()}
        heads = [head for name, part in parts.items() for head in self._heads(name, part)]
        workers, ages = self._read_details(members, heads)
        registered = set(self._registered)
        for name in names:
            state = self._with_workers(states[name], members[name], workers)
            of_queue = ages.get(name, {})
            state = state._replace(
                head_ready_age=of_queue.get("ready"), head_buried_age=of_queue.get("buried")
            )
            if name in registered or state.jobs or state.consumers:
                yield state
        self._report()

    def _queue_commands(self, names: Sequence[str]) -> Iterator[Command]:
        now = int(self.poll.now or 0)
        for name in names:
            failed = self._key("failed", name)
            yield "SMEMBERS", self._key("workers", name)
            yield "LLEN", self._key("queue", name)
            yield "ZCARD", self._key("wip", name)
            yield "ZCARD", self._key("scheduled", name)
            yield "ZCARD", failed
            # The score of a failed job is when RQ forgets it. RQ removes forgotten jobs later.
            yield "ZCOUNT", failed, 0, now
            yield "ZCARD", self._key("deferred", name)
            yield "ZCARD", self._key("finished", name)
            yield "ZCOUNT", self._key("scheduled", name), 0, now - OVERDUE
            if "ready" in self.poll.heads:
                yield "LINDEX", self._key("queue", name), 0
            if "buried" in self.poll.heads:
                yield "ZRANGE", failed, 0, 0, "WITHSCORES"
                yield "ZRANGEBYSCORE", failed, f"({now}", "+inf", "LIMIT", 0, 1

    def _state_of(self, name: str, part: Sequence[Any]) -> QueueState:
        counts = list(map(count_of, part[1:9]))
        if None in counts:
            for kind, count_, reply in zip(COUNTED, counts, part[1:9], strict=True):
                if count_ is None:
                    self.poll.doubt(self._key(kind, name), reply)
        ready, wip, scheduled, failed, forgotten, deferred, finished, overdue = counts
        self._overdue += overdue or 0
        native = {"deferred": deferred, "finished": finished, "overdue": overdue}
        return QueueState(
            name,
            ready=ready,
            reserved=wip,
            delayed=scheduled,
            buried=None if failed is None or forgotten is None else max(0, failed - forgotten),
            paused=self._is_suspended,
            native={key: value for key, value in native.items() if value is not None},
        )

    def _heads(self, name: str, part: Sequence[Any]) -> Iterator[Head]:
        heads = iter(part[9:])
        if "ready" in self.poll.heads and (first := name_of(next(heads))):
            yield Head(name, "ready", first, "enqueued_at")
        if "buried" in self.poll.heads:
            # A job that is never forgotten has the score -1, and is first of all.
            lowest, expiring = (list_of(reply) for reply in heads)
            is_kept = len(lowest) == 2 and text_of(lowest[1]).startswith("-")
            found = lowest if is_kept else expiring
            if found and (failed := name_of(found[0])):
                yield Head(name, "buried", failed, "ended_at")

    def _workers_of(self, name: str, reply: Any) -> list[str] | None:
        key = self._key("workers", name)
        if not isinstance(reply, list):
            self.poll.doubt(key, reply)
            return None
        return self.poll.names(reply, key, f"{self.prefix}worker:")

    def _read_details(
        self, members: dict[str, list[str] | None], heads: Sequence[Head]
    ) -> tuple[dict[str, WorkerKeys], dict[str, dict[str, float | None]]]:
        """Read the hashes of the workers and of the first jobs."""
        names = sorted({worker for found in members.values() for worker in found or ()})
        commands: list[Command] = [
            ("HMGET", f"{self.prefix}worker:{name}", "state", "birth", "death") for name in names
        ]
        commands += [("HGET", f"{self.prefix}job:{one.job_id}", one.field) for one in heads]
        replies = self.poll.ask(commands) if commands else []
        workers = dict(zip(names, map(parse_worker, replies), strict=False))
        ages: dict[str, dict[str, float | None]] = {}
        for one, reply in zip(heads, replies[len(names) :], strict=True):
            ages.setdefault(one.queue, {})[one.state] = age_of(self.poll.now, parse_time(reply))
        return workers, ages

    def _with_workers(
        self, state: QueueState, members: list[str] | None, workers: dict[str, WorkerKeys]
    ) -> QueueState:
        if members is None:
            return state
        alive = []
        for name in members:
            if not workers[name].state:
                self._gone.setdefault(name, set()).add(state.name)
            elif not workers[name].has_said_goodbye:
                alive.append(workers[name])
        idle = sum(worker.state in IDLE for worker in alive)
        busy = sum(worker.state == "busy" for worker in alive)
        return state._replace(
            consumers=len(alive),
            idle_consumers=idle,
            held=max(state.reserved or 0, busy),
        )

    def _report(self) -> None:
        """Report workers whose heartbeat has expired, and scheduled jobs that nobody moves."""
        problems = [describe_dead("worker", self._gone)] if self._gone else []
        if self._overdue:
            jobs = count(self._overdue, "scheduled job")
            text = (
                f"has {jobs} more than {OVERDUE} s overdue: no RQ scheduler moves them to a queue"
            )
            problems.append(Problem("warning", text, causes=["overdue"]))
        self.poll.problems[:] = problems

    def _key(self, kind: str, name: str) -> str:
        return f"{self.prefix}{kind}:{name}"


def parse_worker(reply: Any) -> WorkerKeys:
    """Return the fields of a worker from the reply to HMGET state birth death.

    RQ registers a worker with the time of its birth, and sets its state a moment later.
    """
    found = list_of(reply)
    if len(found) != 3:
        return WorkerKeys()
    state, birth, death = found
    return WorkerKeys(text_of(state, 20) or ("started" if birth else ""), bool(death))


def parse_time(reply: Any) -> float | None:
    """Return a time that RQ wrote, such as 2026-11-29T18:24:31.123456Z, in seconds since 1970."""
    text = text_of(reply, 40)
    try:
        return datetime.fromisoformat(text).timestamp() if text.endswith("Z") else None
    except (ValueError, OverflowError):
        return None


def check_prefix(server: "Server") -> None:
    """Raise AddressError if the prefix lacks the colon that RQ puts after it."""
    prefix = server.config.prefix
    if prefix and not prefix.endswith(":"):
        raise AddressError(
            f"prefix = {prefix!r}: RQ's keys begin with its RQ_KEY_PREFIX and a colon: "
            f"write {prefix + ':'!r}"
        )


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of RQ on this server. They connect at the first call."""
    from beanwatch.queues.redis.rq_actions import RqActions

    return RqActions(server, timeout)


SYSTEM = make_system(
    "rq",
    RqReading,
    queue_fields=(
        *("ready", "reserved", "delayed", "buried", "consumers", "idle_consumers"),
        *("head_ready_age", "head_buried_age", "paused"),
    ),
    server_fields=("ready", "reserved", "delayed", "buried"),
    native_queue=(
        ("deferred", "jobs that wait for another job"),
        ("finished", "jobs whose result is still kept"),
        ("overdue", f"scheduled jobs more than {OVERDUE} s after their time"),
    ),
    consumers="live workers of the queue",
    actions=("peek", "list_jobs", "kick", "kick_jobs", "delete_jobs", "empty", "locate"),
    open_actions=open_actions,
    check=check_prefix,
)
