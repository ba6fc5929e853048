"""Reads one gearmand: all functions with one connection and one round trip."""

from collections.abc import Iterable, Mapping

from beanwatch.light_typing import TYPE_CHECKING, NamedTuple
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
            to_server(replies, functions, workers) if wanted.server else None,
            found,
            dict.fromkeys(found, received_at),
            chosen,
            implausible=[
                f"{name}: it has {jobs} jobs, of which {running} are running"
                for name, (jobs, running, _) in functions.items()
                if running > jobs
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
    parent: dict[str, str] = {}  # of each function that has workers

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    firsts = []  # a function of each worker
    for text in workers:
        names = [word for word in text.split(" ") if word in functions]
        names += [name for name in spaced if f" {name} " in f" {text} "]
        for name in names:
            parent.setdefault(name, name)
            parent[find(name)] = find(names[0])
        firsts += names[:1]
    groups = dict.fromkeys(map(find, parent), Group(0, 0))
    for name in firsts:
        group = groups[find(name)]
        groups[find(name)] = group._replace(workers=group.workers + 1)
    for name in parent:
        _, running, _ = functions[name]
        group = groups[find(name)]
        groups[find(name)] = group._replace(running=group.running + running)
    return {name: groups[find(name)] for name in parent}


def to_queue(name: str, function: Function, group: Group | None) -> QueueState:
    """Convert the numbers of a function. `ready` is None if more jobs run than there are."""
    jobs, running, workers = function
    return QueueState(
        name,
        jobs - running if jobs >= running else None,
        running,
        consumers=workers,
        idle_consumers=count_idle(function, group) if workers else 0,
        held=max(running, group.running) if group else running,
    )


def count_idle(function: Function, group: Group | None) -> int | None:
    """Return how many workers of a function run no job; None if that is unknown.

    The server does not say which worker runs which job. If workers can do other functions too, the
    number is known only if the least and the most that are possible are the same.
    """
    if group is None:
        return None
    _, running, workers = function
    least = max(0, workers - group.running)
    most = max(0, min(workers - running, group.workers - group.running))
    return most if least == most else None


def to_server(
    replies: Replies, functions: Mapping[str, Function], workers: list[str]
) -> ServerState:
    """Make the state of the server from its replies. Each of `workers` is one connection."""
    pid = replies.pid.removeprefix("OK ")
    is_known = all(jobs >= running for jobs, running, _ in functions.values())
    jobs, running, _ = map(sum, zip(*functions.values(), strict=True)) if functions else (0, 0, 0)
    return ServerState(
        None if replies.version.startswith("ERR") else replies.version.removeprefix("OK "),
        # In a container the server's process has the number 1 after each start.
        pid if pid.isdecimal() and pid != "1" else None,
        connections=len(workers),
        queues=len(functions),
        ready=jobs - running if is_known else None,
        reserved=running,
        native={"workers": sum(map(bool, workers))},
    )
