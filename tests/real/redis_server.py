"""Real Redis servers without persistence, and a Sentinel."""

from pathlib import Path
from typing import Any

import redis

from tests.real.process import Server


class Redis(Server):
    """A redis-server on a free port. It saves nothing to disk."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def argv(self) -> list[str]:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--appendonly", "no"]
        return ["redis-server", *options, "--save", "", "--dir", str(self.directory)]

    def client(self, **options: Any) -> "redis.Redis":
        return redis.Redis.from_url(self.url, **{"decode_responses": True, **options})


class SpecialRedis(Redis):
    """A Redis with additional options. `{port}` in an option stands for its port."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self.options = options

    def argv(self) -> list[str]:
        return [*super().argv(), *(option.format(port=self.port) for option in self.options)]


class Sentinel(Redis):
    """A Sentinel that monitors one Redis under the name `main`."""

    name = "sentinel"

    def __init__(self, directory: Path, watched: Redis) -> None:
        super().__init__(directory)
        self.watched = watched

    def argv(self) -> list[str]:
        conf = self.directory / "sentinel.conf"
        conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor main 127.0.0.1 {self.watched.port} 1\n"
        )
        return ["redis-server", str(conf), "--sentinel"]
