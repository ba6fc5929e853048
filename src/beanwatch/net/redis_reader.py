"""RedisReader: a small Redis client with one total timeout, on hiredis and a plain socket.

Checks use it, since importing the redis package takes several times as long as a whole check. The
worker's RedisStream uses it to connect and log in. Everything else uses RedisClient.
"""

import socket
import time
from collections.abc import Callable, Sequence

from hiredis import HiredisError, ProtocolError, Reader, pack_command

from beanwatch.light_typing import Any
from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason
from beanwatch.net.redis_url import (
    Command,
    RedisError,
    RedisUrl,
    load_authorities,
    make_reply_error,
    raise_first_error,
)

_pack: Callable[[tuple[Any, ...]], bytes] = pack_command  # its type stub allows only one argument

# A larger array in a reply is rejected. hiredis allocates all elements that an array announces, and
# holds the GIL meanwhile, so not even a watchdog could run. Our commands have smaller replies.
MAX_ELEMENTS = 10_000_000


def announced_elements(data: bytes) -> int:
    """Return the length that a RESP array at the start of `data` announces; 0 for other replies."""
    count = data[1:24].partition(b"\r\n")[0]
    return int(count) if data[:1] == b"*" and count.isdigit() else 0


class RedisReader:
    """One connection. `timeout` (seconds) covers connecting and all calls together.

    The constructor connects and logs in. With a `redis+sentinel://` URL it first asks the sentinels
    for the master, and with a `redis+cluster://` URL the nodes for the one that has our keys. All
    methods raise RedisError. After one with a `code`, which is an error reply of Redis, the
    connection can still be used; after any other, it is closed.
    """

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
        if url.service or url.nodes:
            self._where = self._find_server(url)
        self._connect(self._where, url)
        self._log_in(url)

    def __enter__(self) -> "RedisReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> Address:
        """The server to which this is connected: with Sentinel or a cluster, the one found."""
        return self._where

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""
        self._socket.close()

    def detach(self) -> socket.socket:
        """Return the connected, authenticated socket; the caller takes it over and closes it."""
        return self._socket

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands in one write and return their replies: bytes, int, list or None.

        Raises RedisError, also if one of the replies is an error.
        """
        return raise_first_error(self.execute_each(commands))

    def execute_each(self, commands: Sequence[Command]) -> list[Any]:
        """Do as `execute`, but return each error reply in its place, as a RedisError."""
        self._send(b"".join(_pack(tuple(command)) for command in commands))
        replies = [self._read_reply() for _ in commands]
        return [
            make_reply_error(str(self._where), str(reply))
            if isinstance(reply, HiredisError)
            else reply
            for reply in replies
        ]

    def _connect(self, address: Address, url: RedisUrl) -> None:
        self._parser = Reader()
        try:
            self._socket = self._open(address, self._left())
            if url.tls:
                self._socket = self._start_tls(self._socket, address, url.ca_file)
        except OSError as error:
            raise RedisError(f"redis {address}: {socket_reason(error, self._timeout)}") from None

    def _start_tls(self, sock: socket.socket, address: Address, ca_file: str) -> socket.socket:
        try:
            context = load_authorities(ca_file)
            sock.settimeout(self._left())
            return context.wrap_socket(sock, server_hostname=address.host)
        except BaseException:
            sock.close()
            raise

    def _log_in(self, url: RedisUrl) -> None:
        hello: list[Command] = []
        if url.password:
            hello.append(
                ("AUTH", url.username, url.password) if url.username else ("AUTH", url.password)
            )
        if url.db:
            hello.append(("SELECT", url.db))
        if hello:
            try:
                self.execute(hello)
            except RedisError:
                self.close()
                raise

    def _find_server(self, url: RedisUrl) -> Address:
        """Ask the sentinels for the master, or the cluster's nodes for the one with our keys."""
        asked, last, whole = url.sentinels or url.nodes, RedisError("redis: no server"), self._end
        for number, server in enumerate(asked):
            # Divide the time, so that a server that does not reply leaves some for the others.
            self._end = self._clock() + (whole - self._clock()) / (len(asked) - number + 1)
            try:
                return self._ask(server, url)
            except RedisError as error:
                last = error
            finally:
                self._end = whole
        raise last

    def _ask(self, server: Address, url: RedisUrl) -> Address:
        self._where = server
        if url.service:
            self._connect(server, RedisUrl(server))
            command: Command = ("SENTINEL", "get-master-addr-by-name", url.service)
        else:
            self._connect(server, url)
            self._log_in(url)
            command = ("CLUSTER", "SLOTS")
        try:
            (reply,) = self.execute([command])
        finally:
            self.close()
        if not url.service:
            from beanwatch.net.redis_cluster import find_owner  # spare checks without a cluster

            return find_owner(reply, server)
        if not reply:
            raise RedisError(f"redis {server}: the sentinel knows no service {url.service!r}")
        return Address(reply[0].decode(), int(reply[1]))

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

    def _read_reply(self) -> Any:
        try:
            while (reply := self._parser.gets()) is False:
                self._socket.settimeout(self._left())
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                if not self._parser.has_data() and announced_elements(data) > MAX_ELEMENTS:
                    raise ProtocolError
                self._parser.feed(data)
        except OSError as error:
            raise self._failed(error) from None
        except HiredisError:
            self.close()
            raise RedisError(f"redis {self._where}: this is not Redis") from None
        return reply

    def _failed(self, error: OSError) -> RedisError:
        self.close()
        return RedisError(f"redis {self._where}: {socket_reason(error, self._timeout)}")
