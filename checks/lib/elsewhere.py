"""Finds queues of the configuration that one server lacks and another one has.

A rule such as `[queues.orders]` that names no `server` expects the queue on at least one of the
servers of the configuration.
"""

from collections.abc import Iterable

from beanwatch.checks.lib.source import Source
from beanwatch.config import Config
from beanwatch.queues.base import Reading, ServerError, Wanted
from beanwatch.queues.servers import Server, resolve_servers


def find_elsewhere(
    names: Iterable[str], server: Server, config: Config, source: Source
) -> frozenset[str]:
    """Return those of the names that need not be on this server, as another one may have them.

    `server` lacks the queues. They are looked for on the other servers of the configuration. One
    that removes empty queues may have any of them. Adds a note for a server that cannot be read.
    """
    shared = [name for name in names if config.is_for_any_server(name, server.node)]
    others = [one for one in resolve_servers(config.servers) if one.node != server.node]
    if not shared or not others or not config.servers:
        return frozenset()
    if any(one.system.absent_is_empty for one in others):
        return frozenset(shared)
    wanted = Wanted(server=False, names=shared)
    found: set[str] = set()

    def read(other: Server) -> Reading | ServerError:
        try:
            return source.fetch(other, wanted)
        except ServerError as error:
            return error

    for other, reading in source.ask_each(others, read):
        if isinstance(reading, ServerError):
            source.notes.append(f"{', '.join(shared)}: not looked for on {other.node}: {reading}")
        else:
            found.update(reading.queues or ())
    return frozenset(found)
