"""The Redis client of everything that stays up and waits for replies, on the redis package.

Importing redis takes 0.3 s: `open_redis` imports this module when it is needed.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from beanwatch.net.address import BackgroundCall, resolve
from beanwatch.net.errors import socket_reason
from beanwatch.net.redis_url import Command, RedisError, RedisUrl, load_authorities

# The package removes these words from Redis's answer, and gives them back as the exception's
# `status_code` from version 7.4 on. They name the cause, so they are put in front again.
CODES = {
    exceptions.NoPermissionError: "NOPERM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.AuthenticationError: "WRONGPASS",
}
LOOKUP_SHARE = 0.8  # of a call's time, so that there is time to say that the lookup failed
NO_PASSWORD = "Authentication required."  # noqa: S105 - Redis's answer, which has no password in it


class RedisClient:
    """One Redis. It connects when it is first used, and again after the connection broke.

    Every call ends within `timeout` seconds: the name lookup, Sentinel, TLS and the login
    included. The package limits each of these steps, but not the lookup and not their sum.
    Therefore a call runs in a thread of its own, and we stop waiting for it. Nothing is retried:
    the caller knows whether its commands may be sent twice.

    Any thread may call; the calls go one after the other.
    """

    def __init__(
        self, url: RedisUrl, timeout: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._clock = clock
        self._end = 0.0  # of the time of the running call
        self._is_connected = False
        self._lock = threading.Lock()
        self._call: BackgroundCall[list[Any]] | None = None
        self._sentinel: Any = make_sentinel(url, timeout) if url.service else None
        self._redis: Redis = self._make_redis()

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

        Raises RedisError, also if Redis answers one of them with an error. After a timeout the
        commands may have been executed nevertheless, or may be soon.
        """
        end = self._clock() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise self._timed_out()
        try:
            self._wait_for_previous_call(end)
            self._end = end
            try:
                self._call = BackgroundCall(lambda: self._run(commands), "beanwatch-redis")
            except RuntimeError:  # no more threads: the limits of the single steps still hold
                return self._run(commands)
            return self._call.wait(end - self._clock())
        except TimeoutError:
            raise self._timed_out() from None
        finally:
            self._lock.release()

    def _wait_for_previous_call(self, end: float) -> None:
        """Wait for a call that nobody waits for any more. Raises TimeoutError."""
        if self._call is not None and self._call.is_running:
            try:
                self._call.wait(end - self._clock())
            except RedisError:
                pass  # its caller was told that it took too long

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        try:
            if not self._is_connected:
                self._check_url()
            pipeline: Any
            with self._redis.pipeline(transaction=False) as pipeline:
                for command in commands:
                    # The reply as Redis sent it, as RedisReader returns it.
                    self._redis.set_response_callback(str(command[0]), _unchanged)
                    pipeline.execute_command(*command)
                replies: list[Any] = pipeline.execute(raise_on_error=False)
        except RedisError:
            raise
        except Exception as error:
            self.close()
            raise RedisError(f"redis {self._url.name}: {self._explain(error)}") from error
        for reply in replies:
            if isinstance(reply, exceptions.RedisError):
                raise RedisError(f"redis {self._url.name}: {self._explain(reply)}")
        return replies

    def _check_url(self) -> None:
        """Find faults for which the package has no clear message. Raises OSError, RedisError."""
        host, port = self._url.address.host, self._url.address.port
        if host and not self._url.service:
            resolve(host, port, self._timeout * LOOKUP_SHARE)
        if self._url.ca_file:
            load_authorities(self._url.ca_file)

    def _on_connect(self, connection: Any) -> None:
        """Log in. The package calls this for each new connection."""
        connection.on_connect()
        if self._clock() > self._end:  # the caller has given up; its commands are out of date
            raise exceptions.TimeoutError
        self._is_connected = True

    def _make_redis(self) -> Any:
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
                "ssl_check_hostname": True,  # not the default before version 6
            }
        return Redis(host=url.address.host, port=url.address.port, **options)

    def _timed_out(self) -> RedisError:
        return RedisError(f"redis {self._url.name}: {socket_reason(TimeoutError(), self._timeout)}")

    def _explain(self, error: Exception) -> str:
        """The cause in one line."""
        if isinstance(error, MasterNotFoundError):
            asked = ", ".join(map(str, self._url.sentinels))
            return f"no sentinel that answers knows service {self._url.service!r} (asked: {asked})"
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(error, exceptions.TimeoutError):
            cause = TimeoutError()
        if isinstance(cause, OSError):
            return socket_reason(cause, self._timeout)
        if "closed by server" in str(error):
            return "the server closed the connection"
        if isinstance(error, exceptions.ResponseError | exceptions.ConnectionError):
            return add_code(error)
        return "this is no Redis"


def make_sentinel(url: RedisUrl, timeout: float) -> Any:
    """The package's Sentinel for a `redis+sentinel://` URL."""
    # A silent sentinel must leave time for the others, and for the master.
    share = timeout / (len(url.sentinels) + 1)
    hosts = [(sentinel.host, sentinel.port) for sentinel in url.sentinels]
    sentinel: Any = Sentinel  # it has no types
    return sentinel(hosts, sentinel_kwargs=common_options(share))


def common_options(timeout: float) -> dict[str, Any]:
    """Options of every connection: limits for each step, no retries, replies as in RESP 2."""
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def add_code(error: exceptions.RedisError) -> str:
    """Redis's answer with the word in front that names the kind of error."""
    text = str(error.args[0]) if error.args else type(error).__name__
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), "")
    if text == NO_PASSWORD:
        code = "NOAUTH"
    return f"{code} {text}" if code else text


def _unchanged(reply: Any, **_: object) -> Any:
    return reply
