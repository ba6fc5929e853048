"""A plain Redis connection that starts in 2 ms: hiredis over a socket, pipelined, one deadline.

For readers that run as a process a minute, where importing redis costs more than the
whole check. The worker, which stays up, uses the redis package.
"""

import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from hiredis import HiredisError, ProtocolError, Reader, pack_command

from beanwatch.net.address import Address, connect, parse_address
from beanwatch.net.errors import socket_reason

if TYPE_CHECKING:
    from ssl import SSLContext

Command = Sequence[bytes | str | int | float]
_pack: Callable[[tuple[Any, ...]], bytes] = pack_command  # its stub allows one argument only
DEFAULT_URL = "redis://127.0.0.1:6379/0"


# hiredis makes room for as many elements as are announced, and nothing else runs meanwhile, not
# even a watchdog. No answer to any question of ours has more.
MOST_ELEMENTS = 10_000_000


class RedisError(Exception):
    """Redis cannot be used; the text names the server and the cause, never the password."""


class RedisUrl(NamedTuple):
    """What a Redis URL says. `service` is set for `redis+sentinel://` URLs only."""

    address: Address
    db: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False
    ca_file: str = ""
    service: str = ""
    sentinels: tuple[Address, ...] = ()


def parse_redis_url(url: str, password: str = "") -> RedisUrl:
    """Read `redis://`, `rediss://`, `unix://` and `redis+sentinel://` URLs. Raises ValueError.

    redis://[user:password@]host[:port][/db]
    rediss://host/0?ssl_ca_certs=/path
    unix:///path/to/socket?db=0
    redis+sentinel://host1:26379,host2:26379/service[/db]

    `password`, read from a file or the environment, is used where the URL has none.
    """
    try:
        parts = urlsplit(url)
        if "@" in url and "@" not in parts.netloc and parts.scheme != "unix":
            raise ValueError("in a user or password write / as %2F, ? as %3F, # as %23")
        query = parse_qs(parts.query)
        userinfo, _, hosts = parts.netloc.rpartition("@")
        user, _, secret = userinfo.partition(":")
        username, secret = unquote(user), unquote(secret) or password
        path = parts.path.strip("/")
        if parts.scheme == "unix":
            address = parse_address(f"unix:{parts.path}")
            return RedisUrl(address, _db(query.get("db", [""])[0]), username, secret)
        if parts.scheme == "redis+sentinel":
            service, _, db = path.partition("/")
            if not service:
                raise ValueError("name the service: redis+sentinel://host:26379/SERVICE")
            sentinels = tuple(_host(host, 26379) for host in hosts.split(","))
            return RedisUrl(
                sentinels[0], _db(db), username, secret, service=service, sentinels=sentinels
            )
        if parts.scheme not in ("redis", "rediss"):
            raise ValueError("expected redis://, rediss://, unix:// or redis+sentinel://")
        ca_file = query.get("ssl_ca_certs", [""])[0]
        tls = parts.scheme == "rediss"
        return RedisUrl(_host(hosts, 6379), _db(path), username, secret, tls, ca_file)
    except ValueError as error:
        raise ValueError(f"redis URL {redact(url)!r}: {error}") from None


def _db(text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"the database is a number, not {text!r}")
    return int(text or 0)


def _host(text: str, port: int) -> Address:
    return parse_address(text or "127.0.0.1", port)


def _trust(ca_file: str) -> "SSLContext":
    import ssl  # 7 ms that only TLS users pay

    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        reason = error.strerror or "no certificates in PEM form"
        raise RedisError(f"redis: ssl_ca_certs={ca_file}: {reason}") from None


def redact(url: str) -> str:
    """The URL without its user and password, fit for a log."""
    scheme, sep, rest = url.partition("://")
    return f"{scheme}{sep}{rest.rpartition('@')[2]}"


def announced(data: bytes) -> int:
    """How many elements the array has that starts here; 0 for any other reply."""
    count = data[1:24].partition(b"\r\n")[0]
    return int(count) if data[:1] == b"*" and count.isdigit() else 0


class RedisLink:
    """One connection; `timeout` (seconds) is for everything done through it together."""

    def __init__(
        self,
        url: RedisUrl,
        timeout: float = 2.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        open_socket: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self._timeout = timeout
        self._clock = clock
        self._end = clock() + timeout
        self._open = open_socket
        self._where = url.address
        if url.service:
            self._where = self._ask_sentinels(url)
        self._dial(self._where, url)
        hello: list[Command] = []
        if url.password:
            hello.append(
                ("AUTH", url.username, url.password) if url.username else ("AUTH", url.password)
            )
        if url.db:
            hello.append(("SELECT", url.db))
        if hello:
            self.execute(hello)

    def __enter__(self) -> "RedisLink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""
        self._socket.close()

    def detach(self) -> socket.socket:
        """The connected, authenticated socket, for somebody who goes on with it in another way."""
        return self._socket

    def extend(self) -> None:
        """Start the time anew, for a link that is kept."""
        self._end = self._clock() + self._timeout

    def execute_anew(self, commands: Sequence[Command]) -> list[Any]:
        """As `execute`, with its full time, where something else takes some in between."""
        self.extend()
        return self.execute(commands)

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands in one write and return their replies: bytes, int, list or None.

        Raises RedisError, also when Redis answers one of them with an error.
        """
        self._send(b"".join(_pack(tuple(command)) for command in commands))
        replies = [self._reply() for _ in commands]
        for reply in replies:
            if isinstance(reply, HiredisError):
                self.close()
                raise RedisError(f"redis {self._where}: {reply}")
        return replies

    def _dial(self, address: Address, url: RedisUrl) -> None:
        self._reader = Reader()
        try:
            self._socket = self._open(address, self._left())
            if url.tls:
                self._socket = self._wrap(self._socket, url)
        except OSError as error:
            raise RedisError(f"redis {address}: {socket_reason(error, self._timeout)}") from None

    def _wrap(self, sock: socket.socket, url: RedisUrl) -> socket.socket:
        try:
            context = _trust(url.ca_file)
            sock.settimeout(self._left())
            return context.wrap_socket(sock, server_hostname=url.address.host)
        except BaseException:
            sock.close()
            raise

    def _ask_sentinels(self, url: RedisUrl) -> Address:
        last = RedisError("no sentinel named")
        whole = self._end
        for number, sentinel in enumerate(url.sentinels):
            # One that is silent must leave time for the others, and for the master.
            share = (whole - self._clock()) / (len(url.sentinels) - number + 1)
            self._end = self._clock() + share
            try:
                self._where = sentinel
                self._dial(sentinel, RedisUrl(sentinel))
                found = self.execute([("SENTINEL", "get-master-addr-by-name", url.service)])[0]
                self.close()
            except RedisError as error:
                last = error
                continue
            finally:
                self._end = whole
            if found:
                return Address(found[0].decode(), int(found[1]))
            last = RedisError(f"redis {sentinel}: sentinel knows no service {url.service!r}")
        raise last

    def _left(self) -> float:
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(data)
        except OSError as error:
            raise self._failed(error) from None

    def _reply(self) -> Any:
        try:
            while (reply := self._reader.gets()) is False:
                self._socket.settimeout(self._left())
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                if not self._reader.has_data() and announced(data) > MOST_ELEMENTS:
                    raise ProtocolError
                self._reader.feed(data)
        except OSError as error:
            raise self._failed(error) from None
        except HiredisError:
            self.close()
            raise RedisError(f"redis {self._where}: this is no Redis") from None
        return reply

    def _failed(self, error: OSError) -> RedisError:
        self.close()
        return RedisError(f"redis {self._where}: {socket_reason(error, self._timeout)}")
