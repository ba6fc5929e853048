"""The interface of a layout: how one kind of queue is stored in the keys of a Redis."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from beanwatch.config import ServerConfig
from beanwatch.light_typing import Any
from beanwatch.net.redis_url import Command, RedisError
from beanwatch.queues.base import Problem
from beanwatch.queues.model import QueueState
from beanwatch.queues.redis.replies import count_of, is_wrong_type, name_of
from beanwatch.words import count as count_words

MAX_DOUBTS = 20  # texts of one reading
MAX_NAMED = 3  # workers, and queues, that a problem names
Ask = Callable[[Sequence[Command]], list[Any]]


class Poll:
    """One reading: what is wanted, the server's time, and what the reading finds to say.

    `now` is None if Redis's time is unknown; then so are all ages. `doubts` has a text for each
    reply that cannot be right.
    """

    def __init__(self, ask: Ask, heads: Sequence[str], layout: str) -> None:
        self.ask = ask
        self.heads = frozenset(heads)
        self._layout = layout
        self.now: float | None = None
        self.doubts: list[str] = []
        self.problems: list[Problem] = []

    def count(self, reply: Any, key: str) -> int | None:
        """Return a count; for another reply note a doubt that names the key, and return None."""
        found = count_of(reply)
        if found is None:
            self.doubt(key, reply)
        return found

    def doubt(self, key: str, reply: Any) -> None:
        """Note that the reply about a key is not what this layout needs."""
        if is_wrong_type(reply):
            text = f"key {key!r} holds another type of value than layout {self._layout!r} needs"
        elif isinstance(reply, RedisError):
            text = f"key {key!r}: {reply}"
        else:
            text = f"key {key!r}: unexpected reply {str(reply)[:60]!r}"
        if len(self.doubts) < MAX_DOUBTS:
            self.doubts.append(text)

    def names(self, members: Sequence[Any], key: str, prefix: str = "") -> list[str]:
        """Return the members of a set of names without their prefix, sorted; doubt the others."""
        found = []
        for member in members:
            name = name_of(member)
            if name is None or not name.startswith(prefix) or name == prefix:
                self.doubt(key, member)
            else:
                found.append(name.removeprefix(prefix))
        return sorted(found)


def describe_dead(kind: str, dead: Mapping[str, Collection[str]]) -> Problem:
    """Return the problem of workers whose heartbeat has expired, by name with their queues."""
    named = ", ".join(sorted(dead)[:MAX_NAMED])
    more = f" and {len(dead) - MAX_NAMED} more" if len(dead) > MAX_NAMED else ""
    queues = sorted({queue for found in dead.values() for queue in found})
    on = f" (queue {', '.join(queues[:MAX_NAMED])})" if queues else ""
    number = count_words(len(dead), kind)
    return Problem(
        "warning",
        f"lists {number} whose heartbeat has expired (dead, frozen, or cut off from Redis): "
        f"{named}{more}{on}",
        causes=[f"expired {name}" for name in sorted(dead)],
    )


class LayoutReading:
    """Reads the queues of one layout, once. A subclass stores what the parts of it need.

    The reader calls `start_commands`, `start`, `names`, `read` for parts of the names, and
    `server_fields`, in this order.
    """

    default_prefix = ""

    def __init__(self, config: ServerConfig, poll: Poll) -> None:
        self.config = config
        self.poll = poll
        self.prefix = config.prefix or self.default_prefix

    def start_commands(self) -> Sequence[Command]:
        """Return the commands about all queues together. They are sent first."""
        return ()

    def start(self, replies: Sequence[Any]) -> None:
        """Take the replies to `start_commands`."""

    def names(self) -> list[str]:
        """Return the names of all queues: those of the configuration."""
        return list(dict.fromkeys(self.config.queues))

    def read(self, names: Sequence[str]) -> Iterator[QueueState]:
        """Read the queues with these names, and yield those that exist. Raises ServerError."""
        raise NotImplementedError

    def server_fields(self) -> dict[str, Any]:
        """Return the fields of `ServerState` that belong to no single queue."""
        return {}

    def native(self) -> dict[str, int | float]:
        """Return more numbers of the server, under this layout's own names."""
        return {}
