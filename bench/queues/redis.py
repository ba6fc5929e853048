"""The layouts of queues in Redis, and pipelines of the redis package with the same commands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beanwatch.config import ServerConfig
from beanwatch.queues.base import Wanted
from bench.queues import QUEUES, Pair, open_reader
from tests.real import Redis

WANTED = Wanted(heads=("ready",))


def measure_redis(directory: Path) -> Iterator[Pair]:
    """Measure each layout with QUEUES queues, of which each has a job."""
    names = tuple(f"queue{number}" for number in range(QUEUES))
    with Redis(directory) as redis:
        client = redis.client(decode_responses=False)
        fill(client, names)
        for layout in ("list", "rq", "sidekiq", "celery", "laravel"):
            queues = () if layout in ("rq", "sidekiq") else names
            reader: Any = open_reader(ServerConfig(redis.url, layout=layout, queues=queues))
            sent = record(reader)

            def bare(sent: list[Any] = sent) -> int:
                for commands in sent:
                    with client.pipeline(transaction=False) as pipeline:
                        for command in commands:
                            pipeline.execute_command(*command)
                        pipeline.execute()
                return QUEUES

            others = 1 if layout == "sidekiq" else 0  # its dead set is a queue, too

            def ours(reader: Any = reader, others: int = others) -> int:
                return len(reader.read(WANTED).queues) - others

            yield Pair(f"Redis, {layout}", ours, bare)
            reader.close()
        client.close()


def fill(client: Any, names: tuple[str, ...]) -> None:
    """Put a job into each queue of each layout."""
    for name in names:
        client.lpush(name, "{}")
        client.rpush(f"queues:{name}", "{}")
        client.rpush(f"rq:queue:{name}", "1")
        client.sadd("rq:queues", f"rq:queue:{name}")
        client.sadd("queues", name)
        client.lpush(f"queue:{name}", "{}")


def record(reader: Any) -> list[Any]:
    """Return the commands that one reading sends."""
    sent: list[Any] = []
    connection = reader._connection
    send = connection._send

    def record_and_send(commands: Any) -> Any:
        sent.append(commands)
        return send(commands)

    connection._send = record_and_send
    reader.read(WANTED)
    connection._send = send
    return sent
