"""The servers and the Redis that look-ups and actions use, besides the reader's own connections."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from beanwatch.net.redis_url import Execute, RedisError, RedisUrl, open_redis
from beanwatch.queues.servers import Server
from beanwatch.web.failed_jobs import FailedJobs

T = TypeVar("T")


class Sources:
    """Servers by name, their failed jobs, and Redis. `timeout` (seconds) limits each wait.

    `report` gets a text for each fault of beanwatch itself.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        redis: RedisUrl | None,
        timeout: float,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.servers, self.redis, self.timeout = servers, redis, timeout
        self.failed_jobs = FailedJobs(servers, timeout, report)

    def server(self, node: str) -> Server | None:
        """Return the server with this name."""
        return next((one for one in self.servers if one.node == node), None)

    def query(self, query: Callable[[Execute], T]) -> T:
        """Connect to Redis, and return the result of `query(execute)`. Raises RedisError."""
        if self.redis is None:
            raise RedisError("Redis is off, because redis.url is empty")
        with open_redis(self.redis, self.timeout) as client:
            return query(client.execute)
