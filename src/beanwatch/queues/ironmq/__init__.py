"""The queue system IronMQ, version 3 of its HTTP API: the queues of one project."""

import re

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.net.address import AddressError
from beanwatch.queues.base import (
    DEAD_LETTERS,
    DEFAULT_TIMEOUT,
    Actions,
    Reader,
    ReaderOptions,
    System,
)

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

# Without TLS, everybody on the way can read the token; and the port differs from the default one.
URL = re.compile(r"ironmq://[^/]+/[A-Za-z0-9_-]+|ironmq\+http://[^/]+:\d+/[A-Za-z0-9_-]+")


def open_reader(server: "Server", options: ReaderOptions) -> Reader:
    """Return a reader of this project. It connects for each request."""
    from beanwatch.queues.ironmq.reader import IronMqReader

    return IronMqReader(server, options)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on these queues. `timeout` (seconds) limits each request."""
    from beanwatch.queues.ironmq.actions import IronMqActions

    return IronMqActions(server, timeout)


def check_server(server: "Server") -> None:
    """Raise AddressError unless the URL names a host and a project."""
    if not URL.fullmatch(server.url.text) or server.url.user:
        raise AddressError(
            f"server {str(server)!r}: expected ironmq://HOST[:PORT]/PROJECT, or without TLS "
            "ironmq+http://HOST:PORT/PROJECT"
        )


SYSTEM = System(
    name="ironmq",
    default_port=443,
    queue_fields=frozenset(("ready", "buried", "consumers", "puts")),
    server_fields=frozenset(("queues",)),
    actions=frozenset(("peek", "list_jobs", "kick", "empty")),
    consumers="subscribers of a push queue; unknown for a pull queue",
    absent_is_empty=False,
    open_reader=open_reader,
    open_actions=open_actions,
    failed=DEAD_LETTERS,
    empties=("ready", "buried"),
    settings=frozenset(("queues", "password_file", "ca_file")),
    native_queue=(("message_expiration", "seconds after which IronMQ deletes a message"),),
    check_server=check_server,
)
