"""Queue servers: parse their URLs, and choose the servers that a command uses."""

import os
import socket
from collections.abc import Callable, Iterable, Mapping

from beanwatch.config import ConfigError, ServerConfig
from beanwatch.light_typing import NamedTuple
from beanwatch.net.address import Address, AddressError, parse_address
from beanwatch.queues.base import ServerError, System
from beanwatch.queues.registry import DEFAULT_SCHEME, LAYOUTS, MODULES, find_port, find_system
from beanwatch.telemetry.nodes import node, server_node

DEFAULT_SERVER = "127.0.0.1:11300"


class ServerUrl(NamedTuple):
    """A server's URL `[scheme://][user[:password]@]address[/path]`; the default is beanstalkd.

    `text` is the URL without its user and its password, for messages and for systems whose URL has
    more parts. A URL with several addresses, `a:1,b:2`, has the first one as its `address`.
    """

    scheme: str
    address: Address
    path: str = ""  # the name of a vhost or a database, for systems that have them
    user: str = ""
    text: str = ""

    def __str__(self) -> str:
        return str(self.address) if self.scheme == DEFAULT_SCHEME else self.text


class Server(NamedTuple):
    """A queue server. `node`, its name or made from its host, stands for it in metric paths."""

    node: str
    url: ServerUrl
    config: ServerConfig = ServerConfig()

    @property
    def address(self) -> Address:
        """The address on which the server listens: host and port, or a Unix socket."""
        return self.url.address

    @property
    def system(self) -> System:
        """The queue system of this server."""
        return find_system(self.url.scheme, self.config.layout)

    def can_tell(self, field: str) -> bool:
        """Return True if this server reports the field of `QueueState` with this name.

        Its system must declare the field, and the configuration must not make it unknown.
        """
        return field in self.system.queue_fields and not self.why_unknown(field)

    def can_tell_itself(self, field: str) -> bool:
        """Return True if this server reports the field of `ServerState` with this name."""
        return field in self.system.server_fields and not self.why_unknown(field)

    def why_unknown(self, field: str) -> str:
        """Return why the configuration makes a field unknown; "" if it does not."""
        if field in self.config.unknown:
            return "the setting unknown of this server lists it"
        needed = dict(self.system.needed_settings).get(field, "")
        if needed and not getattr(self.config, needed):
            return f"it needs the setting {needed} of this server"
        return ""

    def read_password(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the password: the first line of `password_file`, or that of the environment.

        Without both, return the one in the URL, or "". The variable for the server `jobs` is
        BEANWATCH_SERVER_JOBS_PASSWORD. Raises ServerError if the file cannot be read.
        """
        if self.config.password_file:
            from beanwatch.config.secrets import read_first_line  # few servers need it

            key = f"servers.{self.node}.password_file"
            try:
                return read_first_line(key, self.config.password_file)
            except ConfigError as error:
                raise ServerError(str(error)) from None
        variable = f"BEANWATCH_SERVER_{self.node.upper().replace('-', '_')}_PASSWORD"
        return environ.get(variable, "") or parse_password(self.config.url)

    def __str__(self) -> str:
        return str(self.url)


def parse_server(text: str, layout: str = "") -> ServerUrl:
    """Parse a server's URL or its address, such as `host:port`. Raises AddressError.

    `layout` is that of its table in the configuration. No error text contains the password.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator or (scheme == "unix" and not layout):  # `unix:/path` is an address
        return ServerUrl(DEFAULT_SCHEME, parse_address(text))
    authority, slash, path = rest.partition("/")
    if scheme != "unix" and "@" in path.partition("?")[0]:
        raise AddressError(
            "in a server's URL, write a / in the password as %2F, and an @ after the host as %40"
        )
    login, _, hosts = authority.rpartition("@")
    shown = f"{scheme}://{hosts}{slash}{path}"
    if scheme not in MODULES:
        raise AddressError(f"server {shown!r}: the scheme must be one of {', '.join(MODULES)}")
    layouts = LAYOUTS.get(scheme, ())
    if layout not in (layouts or ("",)):
        raise AddressError(f"server {shown!r}: {_explain_layout(layout, layouts)}")
    if scheme == "unix":
        address = Address("", 0, f"/{path.partition('?')[0]}")
    else:
        address = parse_address(hosts.partition(",")[0], find_port(scheme, layout))
    return ServerUrl(scheme, address, path, _unquote(login.partition(":")[0]), shown)


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # takes 3 ms, and few URLs need it

    return unquote(text)


def _explain_layout(layout: str, layouts: tuple[str, ...]) -> str:
    if not layouts:
        return f"layout {layout!r} has no meaning for this scheme: remove it"
    allowed = f"layout = one of {', '.join(layouts)}"
    if layout:
        return f"unknown layout {layout!r}: expected {allowed}"
    return f"it needs a table [servers.NAME] in the configuration, with url and {allowed}"


def parse_password(text: str) -> str:
    """Return the password in a server's URL, "" if it has none."""
    rest = text.partition("://")[2]
    login, _, _ = rest.partition("/")[0].rpartition("@")
    return _unquote(login.partition(":")[2])


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
    configured: Mapping[str, ServerConfig | str], wanted: Iterable[str] = (), *, here: str = ""
) -> list[Server]:
    """Return the servers that `wanted` lists by their configured names or by addresses.

    If `wanted` is empty, return all configured servers, or DEFAULT_SERVER if there are none.
    `configured` maps names to settings, or to addresses. `here` is the local host's short name, the
    default is `short_host()`. Raises AddressError for an item that is neither a name nor an
    address, and for a setting that is wrong.
    """
    here = here or short_host()
    known = {
        name: ServerConfig(entry) if isinstance(entry, str) else entry
        for name, entry in configured.items()
    }
    entries = [(word if word in known else None, word) for word in wanted]
    if not entries:
        entries = [(name, name) for name in known] or [(None, DEFAULT_SERVER)]
    servers: dict[tuple[ServerUrl, ServerConfig], Server] = {}
    for name, word in entries:
        server = _resolve(known, name, word, here)
        servers.setdefault((server.url, server.config), server)
    return list(servers.values())


def _resolve(known: Mapping[str, ServerConfig], name: str | None, word: str, here: str) -> Server:
    """Return the server with this name in the configuration (None: it is not there)."""
    try:
        if name is None:
            if parse_password(word):
                raise AddressError(
                    "a password in an argument is shown to every user of this host: put the "
                    "server into the configuration, and its password into password_file"
                )
            config = ServerConfig(word)
            url = parse_server(word)
            # The same series, whether a server is given by its name or by its address.
            name, config = _find_named(known, url) or (None, config)
        else:
            config = known[name]
            url = parse_server(config.url, config.layout)
        named = None if name == config.url else name
        system = find_system(url.scheme, config.layout)
        port = find_port(url.scheme, config.layout)
        server = Server(server_node(url.address, named, here, port), url, config)
        _check_settings(server, system)
    except AddressError as error:
        raise AddressError(f"servers.{name}: {error}" if name else str(error)) from None
    return server


def _check_settings(server: Server, system: System) -> None:
    """Raise AddressError if a setting has no meaning for this system, or is wrong."""
    plain = ServerConfig()
    for key in ServerConfig._fields:
        if key in ("url", "layout", "unknown", *system.settings):
            continue
        if getattr(server.config, key) != getattr(plain, key):
            raise AddressError(f"{key} has no meaning for {system.name}: remove it")
    for field in server.config.unknown:
        if field not in system.queue_fields:
            known = ", ".join(sorted(system.queue_fields))
            raise AddressError(f"unknown: {system.name} has no field {field!r}, only {known}")
    system.check_server(server)


def find_clash(servers: Iterable[Server]) -> str:
    """Return an error text if two servers have the same node, which would mix their series."""
    seen: dict[str, Server] = {}
    for server in servers:
        other = seen.setdefault(server.node, server)
        if other[1:] != server[1:]:
            return (
                f"servers {other} and {server} would both be called "
                f"{server.node!r} in metric paths: give them names that differ in [servers]"
            )
    return ""


def _find_named(
    known: Mapping[str, ServerConfig], url: ServerUrl
) -> tuple[str, ServerConfig] | None:
    """Return the configured name and the settings of the server with this URL, or None."""
    for name, config in known.items():
        try:
            if name != config.url and parse_server(config.url, config.layout) == url:
                return name, config
        except AddressError:
            continue
    return None
