"""Read many servers at the same time, and make rows for tables of servers and queues."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from beanwatch.collectors.poll.derive import ObservedQueue
from beanwatch.collectors.poll.observer import Observation, Observer
from beanwatch.queues.base import Problem
from beanwatch.queues.model import JOB_STATES, NOTHING, Native
from beanwatch.queues.servers import Server

BAD_STATES = frozenset(("no_consumer", "stalled"))  # states of consumers that are critical


class QueueRow(NamedTuple):
    """A queue as a row of a table. Times are in seconds, rates per second. None: unknown."""

    server: str
    queue: str
    ready: int | None = None
    reserved: int | None = None
    delayed: int | None = None
    buried: int | None = None
    consumers: int | None = None
    idle_consumers: int | None = None
    state: str | None = None  # of its consumers, from `consumers.STATES`
    put_rate: float | None = None
    delete_rate: float | None = None
    age: float | None = None  # of the first ready job
    drain: float | None = None  # seconds until the queue is empty at the present rates
    missing_jobs: int | None = None
    pause_left: float | None = None  # seconds until the pause ends
    workers_needed: float | None = None

    @property
    def wrong(self) -> str:
        """The severity of the queue's problems: "critical", "warning" or "" (none)."""
        if self.state in BAD_STATES or self.missing_jobs:
            return "critical"
        return "warning" if self.buried or self.state == "saturated" else ""

    def tree(self) -> dict[str, Any]:
        """Return the row as objects that JSON can hold."""
        return {**self._asdict(), "wrong": self.wrong}


class ServerRow(NamedTuple):
    """A server as a row of a table. `trouble` says why numbers are missing. None: unknown."""

    server: str
    address: str
    system: str  # the name of its queue system
    up: bool  # true if it answered
    version: str | None = None
    uptime: float | None = None  # seconds
    connections: int | None = None
    jobs: int | None = None  # in all states
    queues: int | None = None
    draining: bool | None = None
    problems: Sequence[Problem] = ()
    trouble: str = ""
    native: Native = NOTHING

    @property
    def wrong(self) -> str:
        """The severity of the server's problems: "critical", "warning" or "" (none)."""
        if not self.up or any(problem.severity == "critical" for problem in self.problems):
            return "critical"
        return "warning" if self.draining or self.problems or self.trouble else ""

    def tree(self) -> dict[str, Any]:
        """Return the row as objects that JSON can hold."""
        return {
            **self._asdict(),
            "problems": [problem._asdict() for problem in self.problems],
            "native": dict(self.native),
            "wrong": self.wrong,
        }


class Overview(NamedTuple):
    """The rows of all servers, and the rows of all their queues."""

    servers: Sequence[ServerRow]
    queues: Sequence[QueueRow]


class FleetObserver:
    """Reads all servers at the same time, each in a thread.

    A server that hangs delays the result by at most `timeout` seconds.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._observers = observers
        self._timeout = timeout
        self._clock = clock
        self._running: dict[Observer, threading.Thread] = {}
        self._seen: dict[Observer, Observation] = {}

    def observe(self) -> Overview:
        """Read every server. One that does not answer within the timeout counts as down."""
        end = self._clock() + self._timeout
        self._seen = {}
        for observer in self._observers:
            # Start no second thread while the previous one still hangs (in a name lookup).
            if observer not in self._running or not self._running[observer].is_alive():
                thread = threading.Thread(target=self._observe, args=(observer,), daemon=True)
                self._running[observer] = thread
                thread.start()
        for thread in self._running.values():
            thread.join(max(0.0, end - self._clock()))
        servers: list[ServerRow] = []
        queues: list[QueueRow] = []
        seen = dict(self._seen)  # a copy, since a late thread may still add to it
        for observer in self._observers:
            server = observer.server
            late = Observation(trouble=f"{server}: no answer within {self._timeout:g} s")
            one = seen.get(observer, late)
            servers.append(server_row(server, one))
            queues += [queue_row(server.node, queue) for queue in (one.queues or {}).values()]
        return Overview(servers, queues)

    def close(self) -> None:
        """Close the connections to all servers, except those whose thread still hangs."""
        for observer in self._observers:
            if observer in self._running and not self._running[observer].is_alive():
                observer.close()

    def _observe(self, observer: Observer) -> None:
        self._seen[observer] = observer.observe(problems=True)


def server_row(server: Server, seen: Observation) -> ServerRow:
    """Make the row of a server from one reading of it."""
    state = seen.state
    row = ServerRow(server.node, str(server), server.system.name, state is not None)
    if state is None:
        return row._replace(trouble=seen.trouble)
    queues = seen.queues
    return row._replace(
        version=state.version,
        uptime=state.uptime,
        connections=state.connections,
        jobs=count_jobs(seen),
        queues=len(queues) if state.queues is None and queues is not None else state.queues,
        draining=state.draining,
        problems=seen.problems,
        trouble=seen.trouble,
        native=state.native,
    )


def count_jobs(seen: Observation) -> int | None:
    """Add up the jobs of a server in all states; None if one of the counts is unknown.

    The server's own counts are used, since they include queues that were not read. The counts of
    the queues are used instead if the server has no count of its own.
    """
    states: Iterable[Any] = [seen.state] if seen.state else []
    if seen.state and all(getattr(seen.state, state) is None for state in JOB_STATES):
        states = [queue.state for queue in (seen.queues or {}).values()]
    counts = [getattr(one, state) for one in states for state in JOB_STATES]
    return None if not counts or None in counts else sum(counts)


def queue_row(server: str, queue: ObservedQueue) -> QueueRow:
    """Make the row of a queue. `server` is the name of its server."""
    state = queue.state
    return QueueRow(
        server=server,
        queue=state.name,
        ready=state.ready,
        reserved=state.reserved,
        delayed=state.delayed,
        buried=state.buried,
        # Every connection watches the default queue, ours too: their number says nothing.
        consumers=None if state.is_default else state.consumers,
        idle_consumers=state.idle_consumers,
        state=queue.consumer_state,
        put_rate=queue.put_rate,
        delete_rate=queue.delete_rate,
        age=state.head_ready_age,
        drain=queue.drain_seconds,
        missing_jobs=state.missing_jobs,
        pause_left=state.pause_left,
        workers_needed=queue.workers_needed,
    )
