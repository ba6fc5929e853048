"""Real Redis servers without persistence, and a Sentinel."""

from pathlib import Path
from typing import Any

import redis

from tests.real.process import Server
from tests.real.waiting import wait_until


class Redis(Server):
    """A redis-server on a free port. It saves nothing to disk."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        self.kill()  # it has nothing to save, and one that cannot save refuses to stop

    def argv(self) -> list[str]:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--appendonly", "no"]
        return ["redis-server", *options, "--save", "", "--dir", str(self.directory)]

    def refuse_writes(self, code: str) -> None:
        """Let it refuse all writes with this code of error, while it still answers reads."""
        client = self.client()
        if code == "OOM":
            client.config_set("maxmemory", "1")
        elif code == "READONLY":
            client.replicaof("127.0.0.1", "1")
        elif code == "NOREPLICAS":
            client.config_set("min-replicas-to-write", "1")
        else:
            assert code == "MISCONF"
            client.config_set("save", "3600 1")
            client.ping()  # it has read dump.rdb, and would end at a directory of this name
            (self.directory / "dump.rdb" / "in the way").mkdir(parents=True)
            client.bgsave()
            wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")

    def uptime(self) -> int:
        """Return the whole seconds since it was started."""
        with self.client() as client:
            return int(client.info("server")["uptime_in_seconds"])

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
