"""Streams in Redis: each consumer group of a stream is a queue.

With `group` in the configuration, the queue has the name of the stream, and is that group of it.
Without, each group is a queue `stream:group`.
"""

from collections.abc import Iterator, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any, NamedTuple
from beanwatch.net.redis_url import Command
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions
from beanwatch.queues.model import QueueState
from beanwatch.queues.redis import NAMES_SETTINGS, make_system
from beanwatch.queues.redis.layout import LayoutReading
from beanwatch.queues.redis.replies import (
    age_of,
    count_of,
    fields_of,
    is_missing,
    list_of,
    name_of,
    text_of,
    time_of,
)

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


class Group(NamedTuple):
    """A consumer group, as XINFO GROUPS describes it. None: unknown.

    Redis before 7.0 has no `lag` and no `entries_read`. Later ones have none after entries were
    deleted that the group had not read.
    """

    name: str
    consumers: int | None = None
    pending: int | None = None
    lag: int | None = None
    entries_read: int | None = None
    last_id: str = "0-0"


class StreamReading(LayoutReading):
    """Reads the groups of the streams that the configuration names."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._queues: dict[str, tuple[str, Group | None]] = {}  # name: its stream and its group
        self._streams: dict[str, dict[bytes, Any]] = {}  # stream: the reply to XINFO STREAM

    def start_commands(self) -> Sequence[Command]:
        """Ask for each stream and for its groups."""
        return [
            ("XINFO", kind, self.prefix + name)
            for name in super().names()
            for kind in ("STREAM", "GROUPS")
        ]

    def start(self, replies: Sequence[Any]) -> None:
        """Take the streams and their groups; a stream without any key is empty."""
        for number, name in enumerate(super().names()):
            about, groups = replies[2 * number : 2 * number + 2]
            if not is_missing(about) and not fields_of(about):
                self.poll.doubt(self.prefix + name, about)
                self._queues[name] = name, Group("")
                continue
            self._streams[name] = fields_of(about)
            found = parse_groups(groups)
            for group in found:
                if self.config.group in ("", group.name):
                    queue = name if self.config.group else f"{name}:{group.name}"
                    self._queues[queue] = name, group
            if name not in self._queues and (self.config.group or not found):
                self._queues[name] = name, None

    def names(self) -> list[str]:
        """Return the names of the queues: streams, or `stream:group`."""
        return list(self._queues)

    def read(self, names: Sequence[str]) -> Iterator[QueueState]:
        """Read the entry after the last that each group took, its pending ones and consumers."""
        there = [name for name in names if name in self._queues]
        read = {name: self._queues[name] for name in there if self._queues[name][1]}
        commands: list[Command] = []
        for stream, group in read.values():
            if group is not None and group.name:
                key = self.prefix + stream
                commands += [
                    ("XRANGE", key, f"({group.last_id}", "+", "COUNT", 1),
                    ("XPENDING", key, group.name),
                    ("XINFO", "CONSUMERS", key, group.name),
                ]
        replies = iter(self.poll.ask(commands) if commands else [])
        for name in there:
            stream, group = self._queues[name]
            if group is None:
                # Without the group, or without the stream, nobody has a backlog.
                exists = bool(self._streams.get(stream))
                yield QueueState(name, ready=None if exists else 0, reserved=0, consumers=0)
            elif not group.name:
                yield QueueState(name)
            else:
                yield self._state_of(name, stream, group, [next(replies) for _ in range(3)])

    def _state_of(self, name: str, stream: str, group: Group, part: Sequence[Any]) -> QueueState:
        following, pending, consumers = part
        about = self._streams.get(stream, {})
        first = list_of(list_of(following)[0]) if list_of(following) else []
        # Redis does not always know the lag, but the group is at the end if no entry follows.
        at_end = isinstance(following, list) and not following
        ready = 0 if at_end and group.lag is None else group.lag
        taken = list_of(pending)
        oldest = time_of_id(taken[1]) if len(taken) == 4 else None
        idle = [count_of(fields_of(one).get(b"idle")) for one in list_of(consumers)]
        known = [ms / 1000 for ms in idle if ms is not None]
        native = {
            "length": count_of(about.get(b"length")),
            "pending_age": age_of(self.poll.now, oldest),
            "consumers_idle": min(known) if known else None,
        }
        deletes = None
        if group.entries_read is not None and group.pending is not None:
            deletes = max(0, group.entries_read - group.pending)
        return QueueState(
            name,
            ready=ready,
            reserved=group.pending,
            consumers=group.consumers,
            puts=count_of(about.get(b"entries-added")),
            deletes=deletes,
            head_ready_age=self._age(first) if "ready" in self.poll.heads and first else None,
            held=group.pending,
            native={key: value for key, value in native.items() if value is not None},
        )

    def _age(self, entry: Sequence[Any]) -> float | None:
        return age_of(self.poll.now, time_of_id(entry[0]))


def parse_groups(reply: Any) -> list[Group]:
    """Return the groups of a stream from the reply to XINFO GROUPS, in its order."""
    found = []
    for one in list_of(reply):
        fields = fields_of(one)
        name = name_of(fields.get(b"name"))
        if name is not None:
            found.append(
                Group(
                    name,
                    count_of(fields.get(b"consumers")),
                    count_of(fields.get(b"pending")),
                    count_of(fields.get(b"lag")),
                    count_of(fields.get(b"entries-read")),
                    text_of(fields.get(b"last-delivered-id"), 50) or "0-0",
                )
            )
    return found


def time_of_id(reply: Any) -> float | None:
    """Return when an entry was added, from its id `ms-number`; None if a client chose the id."""
    milliseconds = text_of(reply, 50).partition("-")[0]
    is_number = milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) < 20
    return time_of(int(milliseconds), 0.001) if is_number else None


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the streams of this server. They connect at the first call."""
    from beanwatch.queues.redis.stream_actions import StreamActions

    return StreamActions(server, timeout)


SYSTEM = make_system(
    "redis-stream",
    StreamReading,
    queue_fields=("ready", "reserved", "consumers", "puts", "deletes", "head_ready_age"),
    server_fields=("ready", "reserved"),
    native_queue=(
        ("length", "entries of the stream"),
        ("pending_age", "seconds since the oldest pending entry was added"),
        ("consumers_idle", "seconds since one of the consumers asked last"),
    ),
    consumers="consumers of the group, which Redis keeps until somebody deletes them",
    settings=NAMES_SETTINGS | {"group"},
    actions=("peek", "list_jobs"),
    open_actions=open_actions,
)
