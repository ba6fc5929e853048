"""Queue servers: parse their URLs, and choose the servers that a command uses."""

import socket
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from beanwatch.net.address import Address, AddressError, parse_address
from beanwatch.queues.base import System
from beanwatch.queues.registry import DEFAULT_SCHEME, MODULES, find_system
from beanwatch.telemetry.nodes import node, server_node

DEFAULT_SERVER = "127.0.0.1:11300"


class ServerUrl(NamedTuple):
    """A server's URL `[scheme://][user@]address[/path]`; the default scheme is beanstalkd."""

    scheme: str
    address: Address
    path: str = ""  # the name of a vhost or a database, for systems that have them
    user: str = ""

    def __str__(self) -> str:
        if self.scheme == DEFAULT_SCHEME:
            return str(self.address)
        return f"{self.scheme}://{self.address}{self.path and '/' + self.path}"

    @property
    def system(self) -> System:
        """The queue system that this URL's scheme names."""
        return find_system(self.scheme)


class Server(NamedTuple):
    """A queue server. `node`, its name or made from its host, stands for it in metric paths."""

    node: str
    url: ServerUrl

    @property
    def address(self) -> Address:
        """The address on which the server listens: host and port, or a Unix socket."""
        return self.url.address

    @property
    def system(self) -> System:
        """The queue system of this server."""
        return self.url.system

    def __str__(self) -> str:
        return str(self.url)


def parse_server(text: str) -> ServerUrl:
    """Parse a server's URL or its address, such as `host:port`. Raises AddressError."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator or scheme == "unix":  # `unix:/path` is an address
        return ServerUrl(DEFAULT_SCHEME, parse_address(text))
    if scheme not in MODULES:
        raise AddressError(f"server {text!r}: the scheme must be one of {', '.join(MODULES)}")
    authority, _, path = rest.partition("/")
    user, _, address = authority.rpartition("@")
    return ServerUrl(scheme, parse_address(address, find_system(scheme).default_port), path, user)


def short_host(gethostname: Callable[[], str] = socket.gethostname) -> str:
    """Return the name of the local host without its domain, as one node of a metric path.

    If the first label is no name, as in 10.20.30.41, return the whole name, here `10_20_30_41`:
    other hosts have the same first label.
    """
    whole = gethostname()
    label = whole.partition(".")[0]
    is_name = label and not label.isdigit() and ":" not in whole
    return node(label if is_name else whole)


def resolve_servers(
    configured: Mapping[str, str], wanted: Iterable[str] = (), *, here: str = ""
) -> list[Server]:
    """Return the servers that `wanted` lists by their configured names or by addresses.

    If `wanted` is empty, return all configured servers, or DEFAULT_SERVER if there are none.
    `configured` maps names to addresses. `here` is the local host's short name, the default is
    `short_host()`. Raises AddressError for an item that is neither a name nor an address.
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
    servers: dict[ServerUrl, Server] = {}
    for name, text in entries:
        try:
            url = parse_server(text)
        except AddressError as error:
            raise AddressError(f"servers.{name}: {error}" if name else str(error)) from None
        named = None if name == text else name
        if named is None:
            named = _name_of(configured, url)
        servers.setdefault(url, Server(_node(url, named, here), url))
    return list(servers.values())


def find_clash(servers: Iterable[Server]) -> str:
    """Return an error text if two servers have the same node, which would mix their series."""
    seen: dict[str, Server] = {}
    for server in servers:
        other = seen.setdefault(server.node, server)
        if other.url != server.url:
            return (
                f"servers {other} and {server} would both be called "
                f"{server.node!r} in metric paths: give them names that differ in [servers]"
            )
    return ""


def _node(url: ServerUrl, name: str | None, here: str) -> str:
    return server_node(url.address, name, here, url.system.default_port)


def _name_of(configured: Mapping[str, str], url: ServerUrl) -> str | None:
    """Return the configured name of the server with this URL, or None.

    So a server has the same series whether it is given by its name or by its address.
    """
    for name, text in configured.items():
        try:
            if name != text and parse_server(text) == url:
                return name
        except AddressError:
            continue
    return None
