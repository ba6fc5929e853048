"""RedisClient: the client of long-running programs, which uses the redis package.

Importing redis takes 0.3 s, so `open_redis` imports this module only when it is needed.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import pack_command
from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from beanwatch.net.address import Address, BackgroundCall, resolve
from beanwatch.net.errors import socket_reason
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import (
    OTHER_NODE,
    Command,
    RedisError,
    RedisUrl,
    load_authorities,
    make_reply_error,
    raise_first_error,
)

# The codes at the start of Redis's error replies, by the exceptions that the package raises. The
# package removes them from the text, and has them in `status_code` only since 7.4. They name the
# cause, so `add_code` adds them again.
ERROR_CODES = {
    exceptions.NoPermissionError: "NOPERM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.MovedError: "MOVED",  # before AskError, which is its base
    exceptions.AskError: "ASK",
    exceptions.TryAgainError: "TRYAGAIN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
}
_pack: Callable[[tuple[Any, ...]], bytes] = pack_command  # its type stub allows only one argument
LOOKUP_SHARE = 0.8  # of a call's timeout; the rest is for reporting that the lookup failed
NO_PASSWORD = "Authentication required."  # noqa: S105 - a reply of Redis, not a password


class RedisClient:
    """A client that connects at its first call, and again after the connection was lost.

    Each call ends within `timeout` seconds, including the name lookup, Sentinel, TLS and the login.
    The redis package limits the single steps, but neither the lookup nor the sum. So each call runs
    in a thread, and the caller stops waiting for it. Nothing is retried: only the caller knows
    whether its commands may be sent twice. Threads may share a client; calls run one after another.
    """

    def __init__(
        self, url: RedisUrl, timeout: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._clock = clock
        self._end = 0.0  # monotonic; when the running call times out
        self._is_connected = False
        self._lock = threading.Lock()
        self._call: BackgroundCall[list[Any]] | None = None
        self._sentinel: Any = make_sentinel(url, timeout) if url.service else None
        self._redis: Redis = self._make_redis(url.address)

    def __enter__(self) -> "RedisClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. The next call connects again."""
        self._is_connected = False
        self._redis.close()
        for sentinel in self._sentinel.sentinels if self._sentinel else ():
            sentinel.close()

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands in one write and return their replies: bytes, int, list or None.

        Raises RedisError, also if one of the replies is an error. After a timeout, the commands may
        have been executed, or may still be executed.
        """
        return raise_first_error(self.execute_each(commands, self._timeout))

    def execute_each(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        """Do as `execute`, but return each error reply in its place, as a RedisError.

        The call ends within `timeout` seconds, if that is less than the client's own timeout.
        """
        timeout = max(0.0, min(timeout, self._timeout))
        end = self._clock() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise self._timed_out() from TimeoutError()
        try:
            self._wait_for_previous_call(end)
            self._end = end
            try:
                self._call = BackgroundCall(lambda: self._run(commands), "beanwatch-redis")
            except (
                RuntimeError
            ):  # no more threads: run it here, with only the timeouts of the single steps
                return self._run(commands)
            return self._call.wait(end - self._clock())
        except TimeoutError:
            raise self._timed_out() from None
        finally:
            self._lock.release()

    def _wait_for_previous_call(self, end: float) -> None:
        """Wait until `end` for a call that has timed out but still runs. Raises TimeoutError."""
        if self._call is not None and self._call.is_running:
            try:
                self._call.wait(end - self._clock())
            except RedisError:
                pass  # its own caller has already got a timeout

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        try:
            if not self._is_connected:
                self._check_url()
                if self._url.nodes:
                    self._redis = self._make_redis(self._find_node())
            replies = self._exchange(commands)
        except RedisError:
            raise
        except Exception as error:
            self.close()
            # A check has a state of its own for a timeout: the package's is the same as ours.
            cause = TimeoutError() if isinstance(error, exceptions.TimeoutError) else error
            raise make_reply_error(self._url.name, self._explain(error)) from cause
        replies = [
            make_reply_error(self._url.name, self._explain(reply))
            if isinstance(reply, exceptions.RedisError)
            else reply
            for reply in replies
        ]
        if any(isinstance(reply, RedisError) and reply.code in OTHER_NODE for reply in replies):
            self.close()  # the next call asks the cluster again which node has the keys
        return replies

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands in one write; return their replies, error replies as exceptions.

        The package's pipelines do the same in twice the time, which a poll of many queues notices.
        """
        pool: Any = self._redis.connection_pool
        connection = pool.get_connection()
        replies: list[Any] = []
        try:
            connection.send_packed_command([b"".join(_pack(tuple(one)) for one in commands)])
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except exceptions.ResponseError as error:
                    replies.append(error)
        except BaseException:
            connection.disconnect()  # a late reply would be read as that to the next command
            raise
        finally:
            pool.release(connection)
        return replies

    def _find_node(self) -> Address:
        """Ask the cluster which node has our keys. Raises RedisError.

        The package's RedisCluster takes 50 ms for it, and this 3 ms (three nodes on this host): it
        connects to every node, and runs COMMAND, which beanwatch's users of Redis may not run.
        """
        with RedisReader(self._url, max(0.001, self._end - self._clock())) as reader:
            return reader.address

    def _check_url(self) -> None:
        """Test the host name and the CA file, for clearer messages. Raises OSError, RedisError."""
        host, port = self._url.address.host, self._url.address.port
        if host and not self._url.service and not self._url.nodes:
            resolve(host, port, self._timeout * LOOKUP_SHARE)
        if self._url.ca_file:
            load_authorities(self._url.ca_file)

    def _on_connect(self, connection: Any) -> None:
        """Log in on a new connection, unless the call has timed out. The package calls this."""
        connection.on_connect()
        if (
            self._clock() > self._end
        ):  # the caller has stopped waiting: do not send its commands late
            raise exceptions.TimeoutError
        self._is_connected = True

    def _make_redis(self, address: Address) -> Any:
        url = self._url
        options: dict[str, Any] = {
            **common_options(self._timeout),
            "redis_connect_func": self._on_connect,
            "db": url.db,
            "username": url.username or None,
            "password": url.password or None,
        }
        if self._sentinel is not None:
            return self._sentinel.master_for(url.service, **options)
        if url.address.path:
            return Redis(unix_socket_path=url.address.path, **options)
        if url.tls:
            options |= {
                "ssl": True,
                "ssl_ca_certs": url.ca_file or None,
                "ssl_cert_reqs": "required",
                "ssl_check_hostname": True,  # off by default before version 6
            }
        return Redis(host=address.host, port=address.port, **options)

    def _timed_out(self) -> RedisError:
        return RedisError(f"redis {self._url.name}: {socket_reason(TimeoutError(), self._timeout)}")

    def _explain(self, error: Exception) -> str:
        """Return the cause of an error in one line, without the server's name."""
        if isinstance(error, MasterNotFoundError):
            asked = ", ".join(map(str, self._url.sentinels))
            return f"no sentinel that replied knows service {self._url.service!r} (asked: {asked})"
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(error, exceptions.TimeoutError):
            cause = TimeoutError()
        if isinstance(cause, OSError):
            return socket_reason(cause, self._timeout)
        if "closed by server" in str(error):
            return "the server closed the connection"
        if isinstance(error, exceptions.ResponseError | exceptions.ConnectionError):
            return add_code(error)
        return "this is not Redis"


def make_sentinel(url: RedisUrl, timeout: float) -> Any:
    """Make the redis package's Sentinel object for a `redis+sentinel://` URL.

    `timeout` (seconds) is for all sentinels and the master together.
    """
    # Divide the timeout, so that a sentinel that does not reply leaves time for the next servers.
    share = timeout / (len(url.sentinels) + 1)
    hosts = [(sentinel.host, sentinel.port) for sentinel in url.sentinels]
    sentinel: Any = Sentinel  # it has no type annotations
    return sentinel(hosts, sentinel_kwargs=common_options(share))


def common_options(timeout: float) -> dict[str, Any]:
    """Return the options of all connections: timeouts in seconds, no retries, protocol RESP 2."""
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def add_code(error: exceptions.RedisError) -> str:
    """Return the text of an error reply with its error code in front, such as `NOAUTH` or `OOM`."""
    text = str(error.args[0]) if error.args else type(error).__name__
    code = next((code for kind, code in ERROR_CODES.items() if isinstance(error, kind)), "")
    if text == NO_PASSWORD:
        code = "NOAUTH"
    return f"{code} {text}" if code else text
