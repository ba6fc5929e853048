"""The nodes of metric paths, made from names of servers, queues and workers."""

import re

from beanwatch.net.address import Address

_NODE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def node(name: str) -> str:
    """Return one node, never empty: every character outside `[A-Za-z0-9_-]` becomes `_`."""
    if _NODE_CHARACTERS.issuperset(name):
        return name or "_"
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)  # compiled only here: most names do not need it


def worker_nodes(worker: str) -> str:
    """Return the two nodes of a worker id `<host>.<name>`; a host has no dot in it."""
    host, _, name = worker.partition(".")
    return f"{node(host)}.{node(name)}"


def server_node(address: Address, name: str | None, here: str, default_port: int) -> str:
    """Return a server's node: its configured name, else its host, or `here` for a local address.

    A port that is not the system's default is appended, since a host may run several servers.
    """
    if name:
        return node(name)
    if address.path:
        return node(here)
    host = node(here if address.is_local else address.host)
    return host if address.port == default_port else f"{host}_{address.port}"
