"""A queue system that tells and does little, for tests in one process: `other://HOST`."""

from typing import TYPE_CHECKING

from beanwatch.queues.base import Actions, Chosen, Reader, ReaderOptions, Reading, System, Wanted
from beanwatch.queues.model import QueueState, ServerState

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

QUEUES = {"orders": QueueState("orders", ready=3), "mail": QueueState("mail")}


class OtherReader(Reader):
    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        pass

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        names = list(QUEUES) if wanted.names is None else wanted.names
        chosen = wanted.choose(names) if wanted.choose else Chosen(names)
        return Reading(ServerState(), {name: QUEUES[name] for name in chosen.own}, chosen=chosen)


class OtherActions(Actions):
    system = "other"


SYSTEM = System(
    name="other",
    default_port=7,
    queue_fields=frozenset(("ready",)),
    server_fields=frozenset(),
    actions=frozenset(),
    consumers="nothing",
    absent_is_empty=False,
    open_reader=OtherReader,
    open_actions=lambda server, timeout: OtherActions(),
)
