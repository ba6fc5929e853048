"""The servers and the Redis that look-ups and actions use, besides the reader's own connections."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from beanwatch.net.redis_url import Execute, RedisError, RedisUrl, open_redis
from beanwatch.queues.servers import Server
from beanwatch.web.failed_jobs import FailedJobs

T = TypeVar("T")
NO_REDIS = "Redis is off: redis.url is empty, or nobody has set it and none answers"


class Sources:
    """Servers by name, their failed jobs, and Redis. `timeout` (seconds) limits each wait.

    `find_redis` returns None if there is no Redis now. `report` gets a text for each fault of
    beanwatch itself.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        find_redis: Callable[[], RedisUrl | None],
        timeout: float,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.servers, self.timeout = servers, timeout
        self._find_redis = find_redis
        self.failed_jobs = FailedJobs(servers, timeout, report)

    @property
    def redis(self) -> RedisUrl | None:
        """The Redis; None if there is none."""
        return self._find_redis()

    def server(self, node: str) -> Server | None:
        """Return the server with this name."""
        return next((one for one in self.servers if one.node == node), None)

    def query(self, query: Callable[[Execute], T]) -> T:
        """Connect to Redis, and return the result of `query(execute)`. Raises RedisError."""
        redis = self.redis
        if redis is None:
            raise RedisError(NO_REDIS)
        with open_redis(redis, self.timeout) as client:
            return query(client.execute)
