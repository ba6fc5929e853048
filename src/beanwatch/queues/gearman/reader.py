"""Reads one gearmand: all functions with one connection and one round trip."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from beanwatch.net.address import connect
from beanwatch.net.errors import socket_reason
from beanwatch.queues.base import (
    Chosen,
    ProtocolError,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.gearman.protocol import (
    COMMANDS,
    Function,
    NonsenseError,
    Replies,
    parse_status,
    parse_workers,
    split_replies,
)
from beanwatch.queues.model import QueueState, ServerState

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

MAX_BYTES = 32 * 1024 * 1024  # of all replies of one reading


class GearmanReader(Reader):
    """Reads one gearmand over a new connection each time."""

    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._server, self._timeout, self._clock = server, options.timeout, options.clock

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Read all functions and workers; return those that `wanted` names. Raises ServerError."""
        try:
            replies = self._ask(timeout or self._timeout)
            functions = parse_status(replies.status)
            workers = parse_workers(replies.workers)
        except NonsenseError as error:
            raise ProtocolError(f"{self._server}: this is not gearmand, {error}") from None
        received_at = self._clock()
        groups = group_workers(functions, workers)
        queues = {name: to_queue(name, one, groups.get(name)) for name, one in functions.items()}
        chosen = Chosen(())
        if wanted.names is None:
            names = list(queues)
            chosen = wanted.choose(names) if wanted.choose else Chosen(names)
        chosen_names = wanted.names or (*chosen.own, *chosen.rest)
        found = {name: queues[name] for name in chosen_names if name in queues}
        return Reading(
            to_server(replies, queues, workers) if wanted.server else None,
            found,
            dict.fromkeys(found, received_at),
            chosen,
            implausible=[
                f"{name}: it has {functions[name].jobs} jobs, of which {queue.reserved} are running"
                for name, queue in queues.items()
                if queue.ready is None
            ],
        )

    def _ask(self, timeout: float) -> Replies:
        """Send COMMANDS and return the replies within `timeout` seconds.

        Raises ServerError and NonsenseError.
        """
        end = self._clock() + timeout
        data = bytearray()
        try:
            with connect(self._server.address, timeout) as sock:
                sock.settimeout(max(0.001, end - self._clock()))
                sock.sendall(COMMANDS)
                while (replies := split_replies(data)) is None:
                    left = end - self._clock()
                    if left <= 0:
                        raise TimeoutError
                    sock.settimeout(left)
                    more = sock.recv(65536)
                    if not more:
                        raise ConnectionResetError("the server closed the connection in mid-reply")
                    data += more
                    if len(data) > MAX_BYTES:
                        raise NonsenseError(f"its replies are longer than {MAX_BYTES} bytes")
        except OSError as error:
            raise ServerError(f"{self._server}: {socket_reason(error, timeout)}") from error
        return replies


class Group(NamedTuple):
    """The functions that are connected by workers that can do several of them, counted together."""

    workers: int
    running: int


def group_workers(functions: Mapping[str, Function], workers: Iterable[str]) -> dict[str, Group]:
    """Return the group of each function that has workers.

    `workers` has the functions of each worker. A name with spaces looks like several names. Then
    all functions that the text may name are put into one group.
    """
    spaced = [name for name in functions if " " in name]
    parent = {name: name for name in functions}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    firsts = []  # a function of each worker
    for text in workers:
        names = [word for word in text.split(" ") if word in parent]
        names += [name for name in spaced if f" {name} " in f" {text} "]
        for name in names[1:]:
            parent[find(name)] = find(names[0])
        firsts += names[:1]
    counts: dict[str, Group] = {}
    for name in firsts:
        workers_, running = counts.get(find(name), Group(0, 0))
        counts[find(name)] = Group(workers_ + 1, running)
    for name, function in functions.items():
        if find(name) in counts:
            workers_, running = counts[find(name)]
            counts[find(name)] = Group(workers_, running + function.running)
    return {name: counts[find(name)] for name in functions if find(name) in counts}


def to_queue(name: str, function: Function, group: Group | None) -> QueueState:
    """Convert the numbers of a function. `ready` is None if more jobs run than there are."""
    is_plausible = function.jobs >= function.running
    return QueueState(
        name,
        function.jobs - function.running if is_plausible else None,
        function.running,
        consumers=function.workers,
        idle_consumers=count_idle(function, group),
        held=max(function.running, group.running) if group else function.running,
    )


def count_idle(function: Function, group: Group | None) -> int | None:
    """Return how many workers of a function run no job; None if that is unknown.

    The server does not say which worker runs which job. If workers can do other functions too, the
    number is known only if the least and the most that are possible are the same.
    """
    if function.workers == 0:
        return 0
    if group is None:
        return None
    least = max(0, function.workers - group.running)
    most = max(0, min(function.workers - function.running, group.workers - group.running))
    return most if least == most else None


def to_server(
    replies: Replies, queues: Mapping[str, QueueState], workers: list[str]
) -> ServerState:
    """Make the state of the server from its replies. Each of `workers` is one connection."""
    pid = replies.pid.removeprefix("OK ")
    ready = [queue.ready for queue in queues.values()]
    reserved = [queue.reserved for queue in queues.values()]
    return ServerState(
        None if replies.version.startswith("ERR") else replies.version.removeprefix("OK "),
        # In a container the server's process has the number 1 after each start.
        pid if pid.isdecimal() and pid != "1" else None,
        connections=len(workers),
        queues=len(queues),
        ready=None if None in ready else sum(count or 0 for count in ready),
        reserved=None if None in reserved else sum(count or 0 for count in reserved),
        native={"workers": sum(map(bool, workers))},
    )
