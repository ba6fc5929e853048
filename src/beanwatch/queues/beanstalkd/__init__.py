"""beanstalkd: its protocol, its numbers, the heads of its queues, and actions on them.

beanstalkd calls a queue a tube. The word stands in this package only.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions, Memory, Reader, System

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


def open_reader(
    server: "Server",
    timeout: float = DEFAULT_TIMEOUT,
    *,
    memory: Memory | None = None,
    sweep_timeout: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Reader:
    """A reader of this server; it connects at its first reading."""
    from beanwatch.queues.beanstalkd.reader import BeanstalkdReader

    return BeanstalkdReader(server, timeout, memory, sweep_timeout, clock=clock)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Actions on the queues of this server. Raises ServerError if it cannot be reached."""
    from beanwatch.queues.beanstalkd.actions import BeanstalkdActions

    return BeanstalkdActions(server.address, timeout)


SYSTEM = System(
    name="beanstalkd",
    default_port=11300,
    queue_fields=frozenset(
        [
            "ready",
            "reserved",
            "delayed",
            "buried",
            "consumers",
            "idle_consumers",
            "puts",
            "deletes",
            "head_ready_age",
            "head_buried_age",
            "paused",
            "missing_jobs",
        ]
    ),
    server_fields=frozenset(
        [
            "version",
            "instance",
            "uptime",
            "connections",
            "queues",
            "ready",
            "reserved",
            "delayed",
            "buried",
            "puts",
            "draining",
        ]
    ),
    actions=frozenset(["peek", "find", "kick", "kick_jobs", "delete_jobs", "empty", "pause"]),
    consumers="connections that watch the queue",
    open_reader=open_reader,
    open_actions=open_actions,
)
