"""The nodes of metric paths: how names of servers, queues and workers are spelled there."""

import re

from beanwatch.net.address import Address

_NODE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def node(name: str) -> str:
    """One node of a path: every character outside `[A-Za-z0-9_-]` becomes `_`; never empty."""
    if _NODE_CHARACTERS.issuperset(name):
        return name or "_"
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)  # compiled here, as most names do not need it


def worker_nodes(worker: str) -> str:
    """The two nodes of a worker id `<host>.<name>`. Neither part holds a dot of its own."""
    host, _, name = worker.partition(".")
    return f"{node(host)}.{node(name)}"


def server_node(address: Address, name: str | None, here: str, default_port: int) -> str:
    """A server's node: its configured name, else its host; `here`, the short host name, if local.

    A port that is not the system's default is appended, since a host may run several servers.
    """
    if name:
        return node(name)
    if address.path:
        return node(here)
    host = node(here if address.is_local else address.host)
    return host if address.port == default_port else f"{host}_{address.port}"
