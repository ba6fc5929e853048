"""The servers of the foreign workers: their brokers, and the Redis of the heartbeats."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tests.adapters.workers import ForeignWorker, Kind
from tests.real import Redis
from tests.real.rabbitmq import RabbitMQ

DATABASES = 16  # of a Redis


class Brokers:
    """A Redis for heartbeats, and the brokers. Each worker has a database or a vhost of its own.

    `find_rabbitmq` returns the one that the tests share; by default, one is started when a worker
    first needs it.
    """

    def __init__(
        self, directory: Path, find_rabbitmq: Callable[[], RabbitMQ] | None = None
    ) -> None:
        self._directory = directory
        self.own, self.redis = Redis(directory / "own"), Redis(directory / "broker")
        self._find_rabbitmq = find_rabbitmq or self._start_rabbitmq
        self._stack = ExitStack()
        self._rabbitmq: RabbitMQ | None = None
        self._count = 0

    def make_worker(self, kind: Kind, **settings: str) -> ForeignWorker:
        """Make a worker that uses a broker of its own; it is not started."""
        self._count += 1
        name = f"{kind.name}-p{os.getpid()}-n{self._count:03}"
        if kind.broker == "redis":
            database = self._count % DATABASES
            with self.redis.client() as client:  # a worker that has ended may have left jobs
                client.select(database)
                client.flushdb()
            broker, port = f"redis://127.0.0.1:{{port}}/{database}", self.redis.port
        else:
            server = self._find_rabbitmq()
            vhost = quote(server.add_vhost().name, safe="")
            broker, port = f"amqp://guest:guest@127.0.0.1:{{port}}/{vhost}", server.amqp
        directory = self._directory / name
        return ForeignWorker(kind, broker, port, self.own.url, directory, name, settings)

    def _start_rabbitmq(self) -> RabbitMQ:
        if self._rabbitmq is None:
            server = RabbitMQ(self._directory / "rabbitmq")
            self._rabbitmq = self._stack.enter_context(server)
        return self._rabbitmq

    def __enter__(self) -> Self:
        self._stack.enter_context(self.own)
        self._stack.enter_context(self.redis)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
