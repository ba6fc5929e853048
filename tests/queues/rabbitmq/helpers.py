"""Readers, actions and AMQP consumers of a vhost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beanwatch.config import ServerConfig
from beanwatch.queues.base import Actions, Reader, ReaderOptions, Reading, Wanted
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import Server, parse_server
from tests.real import spawn, stop_process, wait_until
from tests.real.rabbitmq import FRAMEWORKS, Vhost

# Subscribes with a prefetch to a queue and acknowledges nothing.
HOLDER = """\
import sys, time
from kombu import Connection
url, name, prefetch = sys.argv[1:]
with Connection(url) as connection:
    channel = connection.channel()
    channel.basic_qos(0, int(prefetch), False)
    channel.basic_consume(name, no_ack=False, callback=lambda message: None)
    while True:
        connection.drain_events()
"""


def server_of(url: str, **settings: Any) -> Server:
    """Make a server with this URL, under the name `mq`."""
    return Server("mq", parse_server(url), ServerConfig(url, **settings))


def reader_of(url: str, **options: Any) -> Reader:
    """Open a reader."""
    server = server_of(url)
    return server.system.open_reader(server, ReaderOptions(**options))


def actions_of(vhost: Vhost, timeout: float = 20.0) -> Actions:
    """Open the actions on a vhost."""
    server = server_of(vhost.url)
    return server.system.open_actions(server, timeout)


def read(vhost: Vhost, wanted: Wanted | None = None) -> Reading:
    """Read a vhost once."""
    return reader_of(vhost.url, timeout=30.0).read(wanted or Wanted())


def queues_of(vhost: Vhost) -> dict[str, QueueState]:
    """Read the queues of a vhost."""
    found = read(vhost).queues
    assert found is not None
    return dict(found)


def wait_for(vhost: Vhost, condition: Callable[[dict[str, QueueState]], object]) -> Any:
    """Read until the condition is true: RabbitMQ's numbers are up to a second old."""
    found: dict[str, QueueState] = {}

    def is_so() -> object:
        found.update(queues_of(vhost))
        return condition(found)

    wait_until(is_so, 30.0)
    return found


@contextmanager
def holder(vhost: Vhost, queue: str, prefetch: int, directory: Path) -> Iterator[None]:
    """Let a consumer hold `prefetch` jobs of a queue, and acknowledge none."""
    script = directory / "holder.py"
    script.write_text(HOLDER)
    process = spawn(
        [FRAMEWORKS, script, vhost.amqp_url, queue, str(prefetch)], log=directory / "holder.log"
    )
    try:
        yield
    finally:
        stop_process(process)
