"""Plain lists in Redis: each queue is a list, and a second list may hold its failed jobs."""

from collections.abc import Iterator, Sequence

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.net.address import AddressError
from beanwatch.net.redis_url import Command
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions
from beanwatch.queues.model import QueueState
from beanwatch.queues.redis import NAMES_SETTINGS, make_system
from beanwatch.queues.redis.layout import LayoutReading

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


class ListReading(LayoutReading):
    """Reads lists. A list that the configuration names and that has no key is empty."""

    def read(self, names: Sequence[str]) -> Iterator[QueueState]:
        """Read the lengths of the lists with these names, and of those of their failed jobs."""
        keys = [self.prefix + name for name in names]
        failed = [failed_key(self.config.failed, self.prefix, name) for name in names]
        commands: list[Command] = [("LLEN", key) for key in keys]
        commands += [("LLEN", key) for key in failed if key]
        replies = self.poll.ask(commands)
        buried = iter(replies[len(keys) :])
        configured = set(self.config.queues)
        for name, key, failed_one, reply in zip(names, keys, failed, replies, strict=False):
            ready = self.poll.count(reply, key)
            lost = self.poll.count(next(buried), failed_one) if failed_one else None
            if ready or lost or name in configured or ready is None:
                yield QueueState(name, ready=ready, buried=lost)


def failed_key(pattern: str, prefix: str, name: str) -> str:
    """Return the key of the list of failed jobs of a queue; "" if there is none."""
    return prefix + pattern.replace("{queue}", name) if pattern else ""


def check_failed(server: "Server") -> None:
    """Raise AddressError if several queues would share one list of failed jobs.

    Its jobs belong to no single queue. So the list is to be listed in `queues` itself.
    """
    config = server.config
    if config.failed and "{queue}" not in config.failed and len(config.queues) > 1:
        raise AddressError(
            f"failed = {config.failed!r} lacks {{queue}}, and there are several queues: "
            "add the list to queues instead"
        )


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the lists of this server. They connect at the first call."""
    from beanwatch.queues.redis.list_actions import ListActions

    return ListActions(server, timeout)


SYSTEM = make_system(
    "redis-list",
    ListReading,
    queue_fields=("ready", "buried"),
    server_fields=("ready", "buried"),
    consumers="unknown: Redis does not say which clients wait for a list",
    settings=NAMES_SETTINGS | {"failed"},
    actions=("peek", "list_jobs", "kick", "empty"),
    open_actions=open_actions,
    empties=("ready", "buried"),
    check=check_failed,
    needed_settings=(("buried", "failed"),),
)
