"""Redis without persistence."""

from typing import Any

import redis

from tests.real.process import Server


class Redis(Server):
    """A redis-server on a free port that keeps nothing."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def argv(self) -> list[str]:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--appendonly", "no"]
        return ["redis-server", *options, "--save", "", "--dir", str(self.directory)]

    def client(self, **options: Any) -> "redis.Redis":
        return redis.Redis.from_url(self.url, **{"decode_responses": True, **options})
