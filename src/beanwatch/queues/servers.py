"""Which beanstalkd servers a command talks to, and what each is called in metric paths."""

import socket
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from beanwatch.net.address import Address, AddressError, parse_address
from beanwatch.telemetry import series as paths

DEFAULT_SERVER = "127.0.0.1:11300"


class Server(NamedTuple):
    """A server: its address, and its node in metric paths (a name, or made of the host)."""

    node: str
    address: Address


def short_host(gethostname: Callable[[], str] = socket.gethostname) -> str:
    """This host's name without its domain."""
    return gethostname().partition(".")[0]


def resolve_servers(
    configured: Mapping[str, str], wanted: Iterable[str] = (), *, here: str = ""
) -> list[Server]:
    """The servers named in `wanted` (names of the configuration, or addresses).

    Without any: all configured ones; without these: DEFAULT_SERVER. Raises AddressError,
    which lists the known names when a word is neither a name nor an address.
    """
    here = here or short_host()
    entries: list[tuple[str | None, str]] = []
    for word in wanted:
        if word in configured:
            entries.append((word, configured[word]))
        else:
            entries.append((None, word))
    if not entries:
        entries = list(configured.items()) or [(None, DEFAULT_SERVER)]
    servers: dict[Address, Server] = {}
    for name, text in entries:
        try:
            address = parse_address(text)
        except AddressError as error:
            raise AddressError(f"servers.{name}: {error}" if name else str(error)) from None
        named = None if name == text else name
        if named is None:
            named = _name_of(configured, address)
        servers.setdefault(address, Server(paths.server_node(address, named, here), address))
    return list(servers.values())


def find_clash(servers: Iterable[Server]) -> str:
    """What is wrong when two servers have one node, and so would share all series; or ""."""
    seen: dict[str, Server] = {}
    for server in servers:
        other = seen.setdefault(server.node, server)
        if other.address != server.address:
            return (
                f"servers {other.address} and {server.address} would both be called "
                f"{server.node!r} in metric paths: give them names that differ in [servers]"
            )
    return ""


def _name_of(configured: Mapping[str, str], address: Address) -> str | None:
    """An address given by hand is the same server as the configured one: one set of series."""
    for name, text in configured.items():
        try:
            if name != text and parse_address(text) == address:
                return name
        except AddressError:
            continue
    return None
