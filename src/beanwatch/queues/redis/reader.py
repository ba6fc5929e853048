"""Read the queues of one Redis: what all layouts have in common."""

from collections.abc import Callable, Container, Iterator

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.net.redis_info import RedisState, find_refusal, parse_info
from beanwatch.net.redis_url import Command, RedisError, describe_refusal
from beanwatch.queues.base import (
    Chosen,
    Problem,
    ProtocolError,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.redis import INFO_NATIVE
from beanwatch.queues.redis.connection import RedisConnection
from beanwatch.queues.redis.layout import LayoutReading, Poll
from beanwatch.queues.redis.replies import server_time_of, sum_of
from beanwatch.words import count

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

QUEUES_AT_ONCE = 500  # queues whose numbers are read in one pipeline
SUMS = ("ready", "reserved", "delayed", "buried")


class RedisQueueReader(Reader):
    """Reads one Redis whose jobs have the layout of one queue system.

    A reading sends two or three pipelines. `options.timeout` (seconds) limits the first one, with
    the connect; `options.sweep_timeout` limits the reading of the queues. A timeout given to `read`
    replaces both, and limits all of them together.
    """

    def __init__(
        self, server: "Server", options: ReaderOptions, layout: Callable[..., LayoutReading]
    ) -> None:
        self._server = server
        self._options = options
        self._layout = layout
        self._connection = RedisConnection(
            server,
            max(options.timeout, options.sweep_timeout),
            options.clock,
            is_lasting=options.is_lasting,
        )
        self._problems: list[Problem] = []

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Read the parts that `wanted` names: INFO, and the keys of the queues.

        Raises ServerError if nothing could be read.
        """
        self._problems = []
        try:
            self._connection.start(timeout or self._options.timeout)
            return self._read(wanted, timeout is not None)
        finally:
            self._connection.end()

    def problems(self, reading: Reading) -> Iterator[Problem]:
        """Yield problems: this Redis refuses writes, or workers of the layout have died."""
        yield from self._problems

    def close(self) -> None:
        """Close the connection; the next reading opens a new one."""
        self._connection.close()

    def _read(self, wanted: Wanted, has_one_deadline: bool) -> Reading:
        poll = Poll(self._connection.ask, wanted.heads, self._server.config.layout)
        layout = self._layout(self._server.config, poll)
        commands: list[Command] = [("TIME",)]
        if wanted.server:
            commands += [("INFO",), ("PING",)]
        shared = layout.start_commands()
        replies = self._connection.ask([*commands, *shared])
        poll.now = server_time_of(replies[0])
        if poll.now is None:
            raise ProtocolError(f"{self._server}: it did not reply to TIME as Redis does")
        server = self._server_of(*replies[1:3]) if wanted.server else None
        layout.start(replies[len(commands) :])
        if not has_one_deadline:
            self._connection.start(max(self._options.timeout, self._options.sweep_timeout))
        reading = self._read_queues(wanted, server, layout, poll)
        self._problems += poll.problems
        return reading

    def _read_queues(
        self, wanted: Wanted, server: ServerState | None, layout: LayoutReading, poll: Poll
    ) -> Reading:
        all_names = layout.names()
        chosen = Chosen(all_names)
        if wanted.names is not None:
            chosen = Chosen(())
            names = list(dict.fromkeys(wanted.names))
        else:
            if wanted.choose:
                chosen = wanted.choose(all_names)
            names = list(dict.fromkeys((*chosen.own, *chosen.rest)))
        queues: dict[str, QueueState] = {}
        received_at: dict[str, float] = {}
        fields = self._server.system.queue_fields
        try:
            for start in range(0, len(names), QUEUES_AT_ONCE):
                part = layout.read(names[start : start + QUEUES_AT_ONCE])
                found = {queue.name: with_age_0(queue, fields) for queue in part}
                queues |= found
                received_at |= dict.fromkeys(found, self._options.clock())
        except ServerError as error:
            if server is None:
                raise
            trouble = f"cannot read the queues: {error}"
            return Reading(server, trouble=trouble, implausible=poll.doubts)
        if server is not None:
            server = self._with_sums(server, layout, all_names, queues)
        return Reading(server, queues, received_at, chosen, implausible=poll.doubts)

    def _with_sums(
        self,
        server: ServerState,
        layout: LayoutReading,
        all_names: list[str],
        queues: dict[str, QueueState],
    ) -> ServerState:
        """Add the counts of all queues together; None for a count if not all of them were read."""
        fields: dict[str, Any] = {"queues": len(all_names)}
        if queues.keys() >= set(all_names):
            for field in SUMS:
                if field in self._server.system.server_fields:
                    fields[field] = sum_of([getattr(queue, field) for queue in queues.values()])
        fields |= layout.server_fields()
        return server._replace(**fields, native={**server.native, **layout.native()})

    def _server_of(self, reply: Any, pong: Any) -> ServerState:
        info = parse_info(reply) if isinstance(reply, bytes) else {}
        if not info.get("redis_version") or not info.get("run_id"):
            raise ProtocolError(
                f"{self._server}: its reply to INFO has no redis_version or no run_id"
            )
        state = RedisState(None, info)
        # Redis refuses PING while it refuses writes because it cannot save.
        refusal = "MISCONF" if isinstance(pong, RedisError) else find_refusal(state)
        self._problems += find_problems(state, refusal)
        native = {name: state.number(name) for name, _ in INFO_NATIVE}
        return ServerState(
            version=info["redis_version"],
            instance=info["run_id"],
            uptime=state.number("uptime_in_seconds"),
            connections=state.number("connected_clients"),
            memory=state.number("used_memory"),
            native={name: value for name, value in native.items() if value is not None},
        )


def with_age_0(queue: QueueState, fields: Container[str]) -> QueueState:
    """Return the queue with the age 0 for a first job that there is not, if `fields` has ages."""
    if queue.ready == 0 and queue.head_ready_age is None and "head_ready_age" in fields:
        queue = queue._replace(head_ready_age=0.0)
    if queue.buried == 0 and queue.head_buried_age is None and "head_buried_age" in fields:
        queue = queue._replace(head_buried_age=0.0)
    return queue


def find_problems(state: RedisState, refusal: str | None) -> Iterator[Problem]:
    """Yield what INFO shows: Redis refuses writes with the code `refusal`, or has evicted keys."""
    if refusal:
        # Who reads a replica, to spare the master, knows that it takes no jobs.
        severity = "warning" if refusal == "READONLY" else "critical"
        yield Problem(severity, f"accepts no new jobs: {describe_refusal(refusal)}")
    policy = state.info.get("maxmemory_policy", "")
    gone = state.number("evicted_keys")
    if gone and state.number("maxmemory") and policy.startswith("allkeys"):
        yield Problem(
            "warning",
            f"has evicted {count(gone, 'key')} since its start (maxmemory-policy {policy}): "
            "jobs may be among them",
            causes=["evicted"],
        )
