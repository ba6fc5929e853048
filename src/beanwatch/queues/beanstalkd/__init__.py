"""The queue system beanstalkd: its protocol, its statistics, and actions on its queues.

beanstalkd calls a queue a tube; this package uses that word, the rest of beanwatch says queue.
"""

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import (
    ACTIONS,
    DEFAULT_TIMEOUT,
    Actions,
    Reader,
    ReaderOptions,
    System,
)
from beanwatch.queues.model import QUEUE_FIELDS, SERVER_FIELDS

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


def open_reader(server: "Server", options: ReaderOptions) -> Reader:
    """Return a reader of this server. It connects when `read` is called first."""
    from beanwatch.queues.beanstalkd.reader import BeanstalkdReader

    return BeanstalkdReader(server, options)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of this server. They connect at the first call.

    `timeout` (seconds) limits the connect and each wait for a reply.
    """
    from beanwatch.queues.beanstalkd.actions import BeanstalkdActions

    return BeanstalkdActions(server.address, timeout)


SYSTEM = System(
    name="beanstalkd",
    default_port=11300,
    queue_fields=frozenset(QUEUE_FIELDS) - {"redeliveries"},
    server_fields=frozenset(SERVER_FIELDS) - {"memory"},
    # Its protocol can show only the first job, and `find` finds one by its number.
    actions=frozenset(ACTIONS) - {"list_jobs", "locate"},
    consumers="connections that watch the queue",
    absent_is_empty=True,
    counters_begin_at_0=True,
    open_reader=open_reader,
    open_actions=open_actions,
)
