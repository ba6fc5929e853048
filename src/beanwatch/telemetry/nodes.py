"""Makes nodes, the parts of Graphite paths, from the names of servers, queues and workers."""

import re

from beanwatch.net.address import Address

_NODE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def node(name: str) -> str:
    """Return a name as one node: each character outside `[A-Za-z0-9_-]` becomes `_`, and "" too."""
    if _NODE_CHARACTERS.issuperset(name):
        return name or "_"
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)  # rarely needed, so not compiled at import


def worker_nodes(worker: str) -> str:
    """Return the two nodes `<host>.<name>` of a worker's id, which it splits at the first dot."""
    host, _, name = worker.partition(".")
    return f"{node(host)}.{node(name)}"


def server_node(address: Address, name: str | None, here: str, default_port: int) -> str:
    """Return a server's node, made from its configured name, or else from its host.

    For a local address the host is `here`, this host's name. A port other than `default_port` is
    appended, since a host may run several servers.
    """
    if name:
        return node(name)
    if address.path:
        return node(here)
    host = node(here if address.is_local else address.host)
    return host if address.port == default_port else f"{host}_{address.port}"
