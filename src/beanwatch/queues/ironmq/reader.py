"""Reads the queues of one project of IronMQ: one request for each queue, in a few threads."""

from collections.abc import Mapping

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import Chosen, Reader, ReaderOptions, Reading, ServerError, Wanted
from beanwatch.queues.ironmq.api import Project, QueueInfo
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.selection import compile_globs

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


class IronMqReader(Reader):
    """Reads the queues that the setting `queues` names; without it, all queues of the project.

    `timeout` (seconds) limits a reading of the server, `sweep_timeout` one with its queues.
    """

    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._server, self._options = server, options
        self._globs = server.config.queues or ("*",)
        self._is_ours = compile_globs(self._globs)

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """List the queues, then read each one. Raises ServerError.

        A queue that cannot be read has no known numbers, and is in `Reading.implausible`. If all
        fail, nothing is known of the queues.
        """
        clock = self._options.clock
        is_server_only = wanted.names is not None and not wanted.names
        sweep = 0.0 if is_server_only else self._options.sweep_timeout
        end = clock() + (timeout or max(self._options.timeout, sweep))
        project = Project(self._server, clock)
        names = list(wanted.names or project.list_names(self._globs, end))
        names = [name for name in names if self._is_ours(name)]
        state = None
        if wanted.server:
            state = ServerState(queues=None if wanted.names else len(names))
        if is_server_only:
            return Reading(state, {})
        chosen = Chosen(())
        if wanted.names is None:
            chosen = wanted.choose(names) if wanted.choose else Chosen(names)
            names = [*chosen.own, *chosen.rest]
        try:
            found, errors = project.read_queues(names, end)
            received_at = dict.fromkeys(found, clock())
        except ServerError as error:
            if state is None:
                raise
            return Reading(state, chosen=chosen, trouble=f"cannot read the queues: {error}")
        implausible = [f"{name}: cannot be read: {error}" for name, error in errors.items()]
        dead = frozenset(info.failed_queue for info in found.values() if info.failed_queue)
        failed: Mapping[str, QueueInfo] = {}
        try:
            failed, shared = project.read_failed(found, end)
        except ServerError as error:
            shared = dead  # each of them may be
            implausible += [
                f"{name}: its failed messages cannot be counted: {error}"
                for name, info in found.items()
                if info.failed_queue
            ]
        queues = {name: QueueState(name, is_dead_letter=name in dead) for name in errors} | {
            name: to_queue(name, info, failed, info.failed_queue in shared)._replace(
                is_dead_letter=name in dead
            )
            for name, info in found.items()
        }
        return Reading(state, queues, received_at, chosen, implausible=implausible)


def to_queue(
    name: str, info: QueueInfo, failed: Mapping[str, QueueInfo], is_shared: bool
) -> QueueState:
    """Convert what IronMQ tells of a queue.

    Its failed messages are in another queue, which IronMQ creates with the first one. If several
    queues share that, nobody knows which messages are of this one. Nobody knows how many consumers
    a pull queue has.
    """
    buried: int | None = failed[info.failed_queue].size if info.failed_queue in failed else 0
    native = (
        {} if info.message_expiration is None else {"message_expiration": info.message_expiration}
    )
    return QueueState(
        name,
        ready=info.size,
        buried=None if is_shared else buried,
        consumers=None if info.push is None else len(info.push.subscribers),
        puts=info.total_messages,
        native=native,
    )
