"""Laravel: the queues of its driver for Redis.

`queues:NAME` is a list: Laravel pushes right and pops left. Reserved and delayed jobs are in sorted
sets, with the time at which a worker puts them back into the list. Failed jobs are in a table of
the application's SQL database, which this layout does not read.
"""

from collections.abc import Iterator, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.net.redis_url import Command
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions
from beanwatch.queues.model import QueueState
from beanwatch.queues.redis import NAMES_SETTINGS, make_system
from beanwatch.queues.redis.layout import LayoutReading
from beanwatch.queues.redis.replies import age_of, json_of, time_of

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

PARTS = ("", ":reserved", ":delayed")


class LaravelReading(LayoutReading):
    """Reads the queues that the configuration names. One without any key is empty."""

    def read(self, names: Sequence[str]) -> Iterator[QueueState]:
        """Read the counts of each queue, and its first job if its age is wanted."""
        commands: list[Command] = []
        now = int(self.poll.now or 0)
        for name in names:
            key, reserved, delayed = (key_of(self.prefix, name, part) for part in PARTS)
            commands += [
                ("LLEN", key),
                ("ZCARD", reserved),
                ("ZCARD", delayed),
                # A worker puts these back into the list when it looks for its next job.
                ("ZCOUNT", delayed, "-inf", now),
                ("ZCOUNT", reserved, "-inf", now),
            ]
            if "ready" in self.poll.heads:
                commands.append(("LINDEX", key, 0))
        replies = self.poll.ask(commands)
        width = len(commands) // len(names) if names else 0
        configured = set(self.config.queues)
        for number, name in enumerate(names):
            state = self._state_of(name, replies[number * width : (number + 1) * width])
            is_known = None in (state.ready, state.reserved, state.delayed) or state.jobs
            if name in configured or is_known:
                yield state

    def _state_of(self, name: str, part: Sequence[Any]) -> QueueState:
        ready, reserved, delayed, due, expired = (
            self.poll.count(reply, key_of(self.prefix, name, PARTS[number]))
            for reply, number in zip(part[:5], (0, 1, 2, 2, 1), strict=True)
        )
        age = age_of(self.poll.now, created_at(part[5])) if len(part) > 5 else None
        native = {"delayed_due": due, "reserved_expired": expired}
        return QueueState(
            name,
            ready=ready,
            reserved=reserved,
            delayed=delayed,
            head_ready_age=age,
            native={key: value for key, value in native.items() if value is not None},
        )


def key_of(prefix: str, name: str, part: str = "") -> str:
    """Return the key of a part of a queue."""
    return f"{prefix}queues:{name}{part}"


def created_at(reply: Any) -> float | None:
    """Return when a job could be taken first, in seconds since 1970; None if it does not say.

    Horizon writes `pushedAt`; Laravel writes `createdAt` from version 12 on, and `delay` for a job
    that was put with one.
    """
    payload = json_of(reply) or {}
    since = time_of(payload.get("pushedAt"))
    if since is None:
        since = time_of(payload.get("createdAt"))
    delay = payload.get("delay")
    if since is None or isinstance(delay, bool) or not isinstance(delay, int | float):
        return since
    return since + delay if 0 <= delay < 1e9 else since


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of Laravel on this server. They connect at first use."""
    from beanwatch.queues.redis.laravel_actions import LaravelActions

    return LaravelActions(server, timeout)


SYSTEM = make_system(
    "laravel-redis",
    LaravelReading,
    queue_fields=("ready", "reserved", "delayed", "head_ready_age"),
    server_fields=("ready", "reserved", "delayed"),
    native_queue=(
        ("delayed_due", "delayed jobs whose time has come: no worker moves them"),
        ("reserved_expired", "reserved jobs whose time to run is over"),
    ),
    consumers="unknown: Laravel's workers leave no trace in Redis",
    settings=NAMES_SETTINGS,
    actions=("peek", "list_jobs", "empty"),
    open_actions=open_actions,
    empties=("ready", "delayed"),
)
