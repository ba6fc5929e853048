"""The queue systems that keep their jobs in Redis: one module for each layout of the keys.

`layout` in the configuration chooses the module. Each one has a `SYSTEM` and a `LayoutReading`. The
core is shared: `reader.py` reads a server, `connection.py` sends the commands, `replies.py` parses.
"""

import re
from collections.abc import Callable, Iterable

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.net.address import AddressError
from beanwatch.queues.base import (
    RETRIED,
    Actions,
    FailedJobs,
    Reader,
    ReaderOptions,
    System,
)
from beanwatch.queues.model import FREE_STATES

if TYPE_CHECKING:
    from beanwatch.queues.redis.layout import LayoutReading
    from beanwatch.queues.servers import Server

DEFAULT_PORT = 6379
# Fields of the server that its reply to INFO has, in every layout.
INFO_FIELDS = frozenset(("version", "instance", "uptime", "connections", "memory", "queues"))
# Numbers of INFO that have no field in the model.
INFO_NATIVE = (
    ("blocked_clients", "clients that wait for a list or a stream"),
    ("evicted_keys", "keys that Redis deleted since its start because its memory was full"),
    ("maxmemory", "bytes that Redis may use; 0: no limit"),
    ("rejected_connections", "connections that were refused because there were too many"),
)
Native = tuple[tuple[str, str], ...]
SETTINGS = frozenset(("password_file", "ca_file", "prefix"))
NAMES_SETTINGS = SETTINGS | {"queues"}  # of layouts without a key that lists the queues
GLOB = re.compile(r"[*?\[]")


def make_system(
    name: str,
    layout: Callable[..., "LayoutReading"],
    *,
    queue_fields: Iterable[str],
    server_fields: Iterable[str],
    consumers: str,
    settings: frozenset[str] = SETTINGS,
    actions: Iterable[str],
    native_server: Native = (),
    native_queue: Native = (),
    job_fact: str = "job",
    open_actions: "Callable[[Server, float], Actions]",
    check: "Callable[[Server], object]" = bool,
    needed_settings: Native = (),
    failed: FailedJobs = RETRIED,
    empties: tuple[str, ...] = FREE_STATES,
) -> System:
    """Make the `System` of a layout, with the shared reader and the checks of its URL."""

    def open_reader(server: "Server", options: ReaderOptions) -> Reader:
        from beanwatch.queues.redis.reader import RedisQueueReader

        return RedisQueueReader(server, options, layout)

    def check_server(server: "Server") -> None:
        from beanwatch.queues.redis.connection import parse_url

        parse_url(server, "")
        if "queues" in settings:
            check_queues(server)
        check(server)

    return System(
        name=name,
        default_port=DEFAULT_PORT,
        queue_fields=frozenset(queue_fields),
        server_fields=INFO_FIELDS | frozenset(server_fields),
        actions=frozenset(actions),
        consumers=consumers,
        absent_is_empty=True,  # Redis deletes the key of a list when it takes the last job from it
        open_reader=open_reader,
        open_actions=open_actions,
        settings=settings,
        native_server=(*INFO_NATIVE, *native_server),
        native_queue=native_queue,
        job_fact=job_fact,
        check_server=check_server,
        needed_settings=needed_settings,
        failed=failed,
        empties=empties,
    )


def check_queues(server: "Server") -> None:
    """Raise AddressError unless `queues` lists names. Globs would need a search of all keys."""
    names = server.config.queues
    layout = server.config.layout
    if not names:
        raise AddressError(
            f"layout {layout!r} needs queues = [...]: Redis has no list of the names of its queues"
        )
    for name in names:
        if GLOB.search(name):
            raise AddressError(
                f"queues: {name!r} is a glob; layout {layout!r} needs the names of the queues"
            )
