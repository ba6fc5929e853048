"""The base of the actions of all layouts: it sends commands, and cuts long bodies."""

import math
from collections.abc import Iterator, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.net.redis_url import Command, RedisError, open_redis, raise_first_error
from beanwatch.queues.base import (
    DEFAULT_TIMEOUT,
    Actions,
    Job,
    ProtocolError,
    UnsupportedError,
)
from beanwatch.queues.redis.connection import open_url, timeout_of, translate
from beanwatch.queues.redis.replies import count_of, list_of, server_time_of

if TYPE_CHECKING:
    from beanwatch.net.redis_client import RedisClient
    from beanwatch.queues.servers import Server

MAX_SHOWN_BODY = 64 * 1024  # bytes of a body that an action returns
STEP = 100  # most jobs that one script changes: Redis serves nobody else meanwhile
MAX_LISTED = 1000  # most jobs that `list_jobs` returns


class RedisActions(Actions):
    """Actions on the queues of one Redis. `timeout` (seconds) limits each wait for replies."""

    def __init__(self, server: "Server", timeout: float = DEFAULT_TIMEOUT) -> None:
        self.server = server
        self.system = server.system.name
        self.prefix = server.config.prefix
        self._timeout = timeout
        self._client: RedisClient | None = None

    def close(self) -> None:
        """Close the connection; the next action opens a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies. Raises ServerError, also for an error reply."""
        try:
            if self._client is None:
                self._client = open_redis(open_url(self.server), self._timeout)
            return raise_first_error(self._client.execute_each(commands, self._timeout))
        except RedisError as error:
            raise translate(self.server, error) from timeout_of(error)

    def run_script(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> list[int]:
        """Run a Lua script, which returns numbers. Raises ServerError."""
        reply = self.ask([("EVAL", script, len(keys), *keys, *arguments)])[0]
        numbers = [count_of(item) for item in (reply if isinstance(reply, list) else [reply])]
        if None in numbers:
            raise ProtocolError(f"{self.server}: the script returned {str(reply)[:60]!r}")
        return [number or 0 for number in numbers]

    def now(self) -> float:
        """Return the time of the server, in seconds since 1970. Raises ServerError."""
        found = server_time_of(self.ask([("TIME",)])[0])
        if found is None:
            raise ProtocolError(f"{self.server}: it did not reply to TIME as Redis does")
        return found

    def list_part(self, key: str, count: int, *, from_end: bool) -> list[bytes]:
        """Return the next `count` elements of a list, the first one to be taken first."""
        count = max(0, min(count, MAX_LISTED))
        if not count:
            return []
        first, last = (-count, -1) if from_end else (0, count - 1)
        reply = self.ask([("LRANGE", key, first, last)])[0]
        found = [one for one in list_of(reply) if isinstance(one, bytes)]
        return found[::-1] if from_end else found

    def take_from_list(self, key: str, count: int, *, from_end: bool) -> Iterator[int]:
        """Delete up to `count` elements of a list, the first ones first; yield after each step."""
        pop = "RPOP" if from_end else "LPOP"
        while count > 0:
            replies = self.ask([(pop, key)] * min(count, STEP))
            gone = sum(reply is not None for reply in replies)
            if gone:
                yield gone
            if gone < len(replies):
                return
            count -= gone

    def no_state(self, state: str) -> UnsupportedError:
        """Return the error for a state that the jobs of this layout do not have."""
        return UnsupportedError(f"{self.system} cannot show or change {state} jobs of a queue")


def make_job(queue: str, state: str, body: bytes, **facts: str | int | float | None) -> Job:
    """Make a Job from a body, which is cut to MAX_SHOWN_BODY. Facts that are None are left out.

    `id`, `age` (seconds) and `failed_at` (seconds since the epoch) are facts that have a field of
    the job.
    """
    known = {name: value for name, value in facts.items() if value not in (None, "")}
    if len(body) > MAX_SHOWN_BODY:
        known["full_size"] = len(body)
    age, failed_at = (_finite(known.pop(name, None)) for name in ("age", "failed_at"))
    return Job(
        str(known.pop("id", "")),
        queue,
        state,
        body=body[:MAX_SHOWN_BODY],
        age=age,
        facts=known,
        failed_at=failed_at,
    )


def _finite(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None
