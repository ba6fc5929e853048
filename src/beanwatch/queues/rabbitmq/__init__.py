"""The queue system RabbitMQ, read over the HTTP API of its management plugin.

RabbitMQ calls a job a message. A server in the configuration is one vhost of a RabbitMQ.
"""

from urllib.parse import unquote

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

TLS_SCHEME = "rabbitmq+https"


def open_reader(server: "Server", options: ReaderOptions) -> Reader:
    """Return a reader of this vhost. Each reading opens its own connections."""
    from beanwatch.queues.rabbitmq.reader import RabbitReader

    return RabbitReader(server, options)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of this vhost.

    `timeout` (seconds) limits each request.
    """
    from beanwatch.queues.rabbitmq.actions import RabbitActions

    return RabbitActions(server, timeout)


def vhost_of(server: "Server") -> str:
    """Return the name of the vhost in the server's URL; `/` if the URL has no path."""
    return unquote(server.url.path) or "/"


def check_server(server: "Server") -> None:
    """Raise AddressError if the URL or `ca_file` cannot be right."""
    url = server.url
    if any(sign in url.path for sign in "/?#") or vhost_of(server) in (".", ".."):
        raise AddressError(
            f"server {url.text!r}: the path is the name of one vhost, write %2F for a / in it"
        )
    if url.address.path or "," in url.text.partition("://")[2].partition("/")[0]:
        raise AddressError(f"server {url.text!r}: expected one host, as in rabbitmq://HOST/VHOST")
    if server.config.ca_file and url.scheme != TLS_SCHEME:
        raise AddressError(f"ca_file needs a URL that begins with {TLS_SCHEME}://")


SYSTEM = System(
    name="rabbitmq",
    default_port=15672,
    queue_fields=frozenset(
        (
            *("ready", "reserved", "buried", "consumers"),
            *("puts", "deletes", "redeliveries", "head_ready_age"),
        )
    ),
    server_fields=frozenset(
        (
            *("version", "instance", "uptime", "connections", "memory"),
            *("queues", "ready", "reserved", "buried"),
        )
    ),
    actions=frozenset(("peek", "list_jobs", "kick", "empty")),
    consumers="consumers of the queue (subscriptions of channels)",
    absent_is_empty=False,
    open_reader=open_reader,
    open_actions=open_actions,
    failed=DEAD_LETTERS,
    empties=("ready", "buried"),
    peek_effect="marks it as redelivered, and a quorum queue drops it at its delivery limit or, "
    "without a limit, moves it to its end",
    settings=frozenset(("password_file", "ca_file", "failed")),
    native_server=(
        ("mem_limit", "bytes of memory at which RabbitMQ stops its publishers, of all nodes"),
        ("fd_used", "open files and sockets of all nodes"),
        ("disk_free", "free bytes on the disk of the node that has the least"),
    ),
    native_queue=(
        ("consumer_capacity", "share of time in which a consumer could take a job at once"),
        ("memory", "bytes of memory that the queue uses"),
        ("message_bytes", "bytes of the bodies of its jobs"),
    ),
    check_server=check_server,
)
