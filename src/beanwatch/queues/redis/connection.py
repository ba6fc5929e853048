"""Sends commands to one Redis, within a deadline, and turns its errors into ServerErrors."""

from collections.abc import Callable, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.net.address import AddressError
from beanwatch.net.redis_url import Command, RedisError, RedisUrl, open_redis, parse_redis_url
from beanwatch.queues.base import ServerError
from beanwatch.queues.redis.replies import is_missing

if TYPE_CHECKING:
    from beanwatch.net.redis_client import RedisClient
    from beanwatch.net.redis_reader import RedisReader
    from beanwatch.queues.servers import Server

# Most commands in one write. Redis serves its other clients between two writes.
MAX_COMMANDS = 4000
KEPT = ("WRONGTYPE", "MISCONF")  # codes of error replies that `ask` returns in their place


def parse_url(server: "Server", password: str) -> RedisUrl:
    """Return the parts of a server's URL, with its `ca_file`. Raises AddressError."""
    try:
        url = parse_redis_url(server.config.url, password)
    except ValueError as error:
        raise AddressError(str(error)) from None
    if server.config.ca_file:
        if not url.tls:
            raise AddressError("ca_file has no meaning without TLS: use rediss:// or remove it")
        url = url._replace(ca_file=server.config.ca_file)
    return url


def open_url(server: "Server") -> RedisUrl:
    """Return the parts of a server's URL, with its password. Raises ServerError."""
    try:
        return parse_url(server, server.read_password())
    except AddressError as error:
        raise ServerError(f"{server}: {error}") from None


class RedisConnection:
    """The connection of one reader. All times are in seconds.

    If `is_lasting`, it stays open between readings and uses the redis package; otherwise each
    reading has a connection of its own, without that package, which would take 0.3 s to import.
    """

    def __init__(
        self, server: "Server", timeout: float, clock: Callable[[], float], *, is_lasting: bool
    ) -> None:
        self._server = server
        self._timeout = timeout
        self._clock = clock
        self._is_lasting = is_lasting
        self._url: RedisUrl | None = None
        self._client: RedisClient | None = None
        self._reader: RedisReader | None = None
        self._end = 0.0

    def start(self, timeout: float) -> None:
        """Let a reading, or its next step, end within `timeout` seconds from now on."""
        self._end = self._clock() + timeout

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies. Raises ServerError.

        A RedisError stands in place of an error reply that concerns one key: it has another type
        (WRONGTYPE), or a stream or its group does not exist; or of MISCONF, the reply to PING of a
        Redis that cannot save. Every other error reply is raised.
        """
        replies: list[Any] = []
        for start in range(0, len(commands), MAX_COMMANDS):
            replies += self._send(commands[start : start + MAX_COMMANDS])
        for error in [reply for reply in replies if isinstance(reply, RedisError)]:
            if error.code not in KEPT and not is_missing(error):
                raise translate(self._server, error)
        return replies

    def close(self) -> None:
        """Close the connection; the next reading opens a new one."""
        if self._client is not None:
            self._client.close()
        if self._reader is not None:
            self._reader.close()
        self._client = self._reader = None

    def end(self) -> None:
        """End a reading: close a connection that is not lasting."""
        if not self._is_lasting:
            self.close()

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            url = self._url = self._url or open_url(self._server)
            if self._is_lasting:
                # The package notices a connection that the server has closed, and opens a new one.
                self._client = self._client or open_redis(url, max(self._timeout, self._left()))
                return self._client.execute_each(commands, self._left())
            if self._reader is None:
                from beanwatch.net.redis_reader import RedisReader

                self._reader = RedisReader(url, max(self._left(), 0.001))
            return self._reader.execute_each(commands)
        except RedisError as error:
            self.close()
            raise translate(self._server, error) from timeout_of(error)

    def _left(self) -> float:
        return self._end - self._clock()


def translate(server: "Server", error: RedisError) -> ServerError:
    """Return a ServerError that names the server once, and the cause."""
    text = str(error)
    for prefix in (f"redis {server.address}: ", "redis: "):
        text = text.removeprefix(prefix)
    return ServerError(f"{server}: {text}")


def timeout_of(error: RedisError) -> TimeoutError | None:
    """Return the timeout that caused an error, or None. It becomes the cause of a ServerError."""
    found = error.__cause__ or error.__context__
    return found if isinstance(found, TimeoutError) else None
