"""The queue system Gearman: its job server `gearmand`, read with the text protocol.

Gearman calls a queue a function; this package uses that word, the rest of beanwatch says queue.
"""

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.net.address import AddressError
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions, Reader, ReaderOptions, System

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


class GearmanActions(Actions):
    """No actions: Gearman's protocol shows no job of a function, and cannot safely delete one.

    `drop function` drops the jobs, but gearmand 1.1 remembers their unique ids: it accepts a later
    job with one of these ids, and never runs it.
    """

    system = "gearman"


def open_reader(server: "Server", options: ReaderOptions) -> Reader:
    """Return a reader of this server. It connects at each reading."""
    from beanwatch.queues.gearman.reader import GearmanReader

    return GearmanReader(server, options)


def open_actions(_server: "Server", _timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return actions that raise UnsupportedError."""
    return GearmanActions()


def check_server(server: "Server") -> None:
    """Raise AddressError for a URL with a user or a path: Gearman has neither."""
    if server.url.user or server.url.path:
        raise AddressError(f"server {str(server)!r}: expected gearman://HOST[:PORT]")


SYSTEM = System(
    name="gearman",
    default_port=4730,
    queue_fields=frozenset(("ready", "reserved", "consumers", "idle_consumers")),
    server_fields=frozenset(("version", "instance", "connections", "queues", "ready", "reserved")),
    actions=frozenset(),
    consumers="workers that can do the function",
    absent_is_empty=True,
    open_reader=open_reader,
    open_actions=open_actions,
    native_server=(("workers", "connections that can do at least one function"),),
    check_server=check_server,
)
