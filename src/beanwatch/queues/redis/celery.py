"""Celery: the queues of kombu's transport for Redis.

A queue is a list for each of four priorities; kombu pushes left and pops right. A worker moves the
messages that it has taken, also those with a countdown or ETA, to one hash for all queues.
"""

from collections.abc import Iterator, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.net.redis_url import Command
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions
from beanwatch.queues.model import QueueState
from beanwatch.queues.redis import NAMES_SETTINGS, make_system
from beanwatch.queues.redis.layout import LayoutReading
from beanwatch.queues.redis.replies import age_of, list_of, sum_of, time_of

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

# kombu's priority_steps: workers take the messages of the first one first.
PRIORITIES = (0, 3, 6, 9)
SEPARATOR = "\x06\x16"


class CeleryReading(LayoutReading):
    """Reads the queues that the configuration names. One without any key is empty."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._unacked: int | None = None
        self._oldest: float | None = None

    def start_commands(self) -> Sequence[Command]:
        """Ask for the number of messages that workers have taken, and for the oldest of them."""
        return [
            ("HLEN", f"{self.prefix}unacked"),
            ("ZRANGE", f"{self.prefix}unacked_index", 0, 0, "WITHSCORES"),
        ]

    def start(self, replies: Sequence[Any]) -> None:
        """Take the replies about the messages of all queues."""
        self._unacked = self.poll.count(replies[0], f"{self.prefix}unacked")
        oldest = list_of(replies[1])
        if len(oldest) == 2:
            self._oldest = age_of(self.poll.now, time_of(oldest[1]))

    def read(self, names: Sequence[str]) -> Iterator[QueueState]:
        """Read the lengths of the lists of each queue."""
        keys = [key for name in names for key in keys_of(self.prefix, name)]
        replies = iter(self.poll.ask([("LLEN", key) for key in keys]))
        configured = set(self.config.queues)
        for name in names:
            own = keys_of(self.prefix, name)
            ready = sum_of([self.poll.count(next(replies), key) for key in own])
            if ready or ready is None or name in configured:
                yield QueueState(name, ready=ready)

    def server_fields(self) -> dict[str, Any]:
        """Return the messages that workers have taken: no key says from which queue."""
        return {"reserved": self._unacked}

    def native(self) -> dict[str, int | float]:
        """Return how long the oldest message has been with a worker, in seconds."""
        return {} if self._oldest is None else {"unacked_age": self._oldest}


def keys_of(prefix: str, name: str) -> list[str]:
    """Return the keys of a queue's lists, that of the highest priority first."""
    return [f"{prefix}{name}{SEPARATOR}{step}" if step else prefix + name for step in PRIORITIES]


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of Celery on this server. They connect at first use."""
    from beanwatch.queues.redis.celery_actions import CeleryActions

    return CeleryActions(server, timeout)


SYSTEM = make_system(
    "celery",
    CeleryReading,
    queue_fields=("ready",),
    server_fields=("ready", "reserved"),
    native_server=(("unacked_age", "seconds that the oldest message has been with a worker"),),
    consumers="unknown: only Celery's remote control lists its workers",
    settings=NAMES_SETTINGS,
    actions=("peek", "list_jobs", "empty"),
    open_actions=open_actions,
    empties=("ready",),
)
