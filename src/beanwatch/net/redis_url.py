"""Parses Redis URLs, and defines what both Redis clients share.

`open_redis` is for long-running programs; `RedisReader` (redis_reader.py) is for checks.
"""

import re
from collections.abc import Callable, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any, NamedTuple
from beanwatch.net.address import Address, parse_address

if TYPE_CHECKING:
    from ssl import SSLContext

    from beanwatch.net.redis_client import RedisClient

Command = Sequence[bytes | str | int | float]
# The method `execute` of either client: it sends commands in one write and returns their replies
# (bytes, int, list or None), or raises RedisError.
Execute = Callable[[Sequence[Command]], list[Any]]

# All keys of beanwatch begin with this. A Redis Cluster hashes only the part of a key in braces, so
# all of them are in the same slot, on one node: a command or a script may use several.
KEY_PREFIX = "{beanwatch}:"

# The query parameters that each URL scheme allows.
PARAMETERS = {
    "redis": (),
    "rediss": ("ssl_ca_certs",),
    "unix": ("db",),
    "redis+sentinel": (),
    "redis+cluster": (),
    "rediss+cluster": ("ssl_ca_certs",),
}


# The codes of the error replies with which Redis refuses every write, and what each means. Such a
# Redis still answers reads.
WRITE_REFUSALS = {
    "OOM": "its memory is full",
    "READONLY": "this is a replica",
    "MISCONF": "it cannot save its data to disk",
    "NOREPLICAS": "too few replicas are connected to it",
}

# The codes of the error replies of a node of a Redis Cluster that has not got the keys: ask again
# which node has them.
OTHER_NODE = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN")


class RedisError(Exception):
    """Raised if a call to Redis failed; the text names server and cause, never the password.

    `code` is the code of Redis's error reply, such as NOPERM; "" if the error is no such reply.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


def describe_refusal(code: str) -> str:
    """Return the text for a Redis that refuses all writes with this code of WRITE_REFUSALS."""
    return f"Redis takes no writes: {code}, {WRITE_REFUSALS[code]}"


def make_reply_error(server: str, reply: str) -> RedisError:
    """Make the RedisError for an error reply, which begins with a code such as OOM or NOPERM."""
    match = re.match(r"[A-Z]+\b", reply)
    code = match[0] if match else ""
    text = describe_refusal(code) if code in WRITE_REFUSALS else reply
    if code == "MOVED":
        text += ", this is a node of a Redis Cluster, and another node has the keys"
    return RedisError(f"redis {server}: {text}", code)


def raise_first_error(replies: list[Any]) -> list[Any]:
    """Return the replies; if one of them is a RedisError, raise it."""
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return replies


class RedisUrl(NamedTuple):
    """The parts of a Redis URL.

    `service` and `sentinels` are set for `redis+sentinel://` only; then `address` is that of the
    first sentinel. `nodes` are set for a cluster only; then `address` is that of the first one.
    `ca_file` is for TLS only.
    """

    address: Address
    db: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False
    ca_file: str = ""
    service: str = ""
    sentinels: tuple[Address, ...] = ()
    nodes: tuple[Address, ...] = ()

    @property
    def name(self) -> str:
        """The server's name for messages: the Sentinel service, or else the addresses."""
        return self.service or ",".join(map(str, self.nodes or (self.address,)))


def parse_redis_url(url: str, password: str = "") -> RedisUrl:
    """Parse a Redis URL. Raises ValueError, also for a part that would have no effect.

    redis://[user:password@]host[:port][/db]
    rediss://host/0?ssl_ca_certs=/path
    unix:///path/to/socket?db=0
    redis+sentinel://host1:26379,host2:26379/service[/db]
    redis+cluster://[user:password@]host1:6379,host2:6379
    rediss+cluster://host1:6379,host2:6379?ssl_ca_certs=/path

    `password`, from a file or the environment, is used if the URL has none.
    """
    try:
        return _parse(url, password)
    except ValueError as error:
        raise ValueError(f"invalid redis URL {redact(url)!r}: {error}") from None


def open_redis(url: RedisUrl, timeout: float) -> "RedisClient":
    """Return a RedisClient, which connects at its first call; each call ends within `timeout` s."""
    # Importing redis takes 0.3 s: spare commands and checks that never connect.
    from beanwatch.net.redis_client import RedisClient

    return RedisClient(url, timeout)


def _parse(url: str, password: str) -> RedisUrl:
    scheme, netloc, path, query_text, fragment = _split(url)
    if "@" in url and "@" not in netloc and scheme != "unix":
        raise ValueError("in a user name or password, write / as %2F, ? as %3F and # as %23")
    if scheme not in PARAMETERS:
        raise ValueError(
            "expected redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
        )
    query = _parse_query(query_text, PARAMETERS[scheme])
    if fragment:
        raise ValueError(f"#{fragment} has no meaning here: remove it")
    userinfo, _, hosts = netloc.rpartition("@")
    user, _, secret = userinfo.partition(":")
    username, secret = _unquote(user), _unquote(secret) or password
    if scheme == "unix":
        if hosts:
            raise ValueError("a unix socket needs an absolute path: unix:///path")
        address = parse_address(f"unix:{path}")
        return RedisUrl(address, _parse_db(query.get("db", "")), username, secret)
    path = path.strip("/")
    if scheme == "redis+sentinel":
        service, _, db = path.partition("/")
        if not service:
            raise ValueError("the service is missing: redis+sentinel://host:26379/SERVICE")
        sentinels = _parse_hosts(hosts, 26379)
        return RedisUrl(
            sentinels[0], _parse_db(db), username, secret, service=service, sentinels=sentinels
        )
    tls, ca_file = scheme.startswith("rediss"), query.get("ssl_ca_certs", "")
    if scheme.endswith("+cluster"):
        if _parse_db(path):
            raise ValueError(f"a Redis Cluster has only database 0: remove /{path}")
        nodes = _parse_hosts(hosts, 6379)
        return RedisUrl(nodes[0], 0, username, secret, tls, ca_file, nodes=nodes)
    return RedisUrl(_parse_host(hosts, 6379), _parse_db(path), username, secret, tls, ca_file)


def _split(url: str) -> tuple[str, str, str, str, str]:
    """Return scheme, authority, path, query and fragment, as urlsplit does (RFC 3986).

    Importing urllib.parse takes 2 ms, and a check has no other need of it.
    """
    rest, _, fragment = url.lstrip().partition("#")
    rest, _, query = rest.partition("?")
    scheme, colon, path = rest.partition(":")
    netloc = ""
    if path.startswith("//"):
        netloc, slash, path = path[2:].partition("/")
        path = slash + path
    return scheme.lower() if colon else "", netloc, path, query, fragment


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # see _split

    return unquote(text)


def _parse_query(query: str, allowed: Sequence[str]) -> dict[str, str]:
    if not query:
        return {}
    from urllib.parse import parse_qsl  # see _split

    pairs = dict(parse_qsl(query, keep_blank_values=True))
    for name in pairs:
        if name not in allowed:
            known = f"; allowed: {', '.join(allowed)}" if allowed else ""
            raise ValueError(f"the parameter {name!r} is not allowed here{known}")
    return pairs


def _parse_db(text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"the database must be a number, not {text!r}")
    return int(text or 0)


def _parse_hosts(text: str, port: int) -> tuple[Address, ...]:
    if not all(text.split(",")):
        raise ValueError("an address is missing: expected HOST[:PORT], with commas between several")
    return tuple(_parse_host(host, port) for host in text.split(","))


def _parse_host(text: str, port: int) -> Address:
    return parse_address(text or "127.0.0.1", port)


def redact(url: str) -> str:
    """Return the URL without its user and password, for messages and logs."""
    scheme, sep, rest = url.partition("://")
    return f"{scheme}{sep}{rest.rpartition('@')[2]}"


def load_authorities(ca_file: str) -> "SSLContext":
    """Make a TLS context that trusts the CA certificates in `ca_file`, or the system's if it is "".

    Raises RedisError, which names the file.
    """
    import ssl  # takes 7 ms, so import it only for TLS

    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        reason = error.strerror or "no certificates in PEM form"
        raise RedisError(f"redis: cannot read ssl_ca_certs={ca_file}: {reason}") from None
