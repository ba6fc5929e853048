"""Several servers at one glance: observed side by side, as rows to print, sort and filter."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from beanwatch.collectors.poll.observer import Observation, Observer
from beanwatch.queues.beanstalkd.stats import count_of
from beanwatch.queues.consumers import CODES, STATES

BAD_STATES = frozenset(("no_watcher", "stalled"))


class QueueRow(NamedTuple):
    """One queue. Ages in seconds, rates a second; None: not known (yet)."""

    server: str
    queue: str
    ready: int
    reserved: int
    delayed: int
    buried: int
    watching: int
    waiting: int
    state: str
    put_rate: float | None
    delete_rate: float | None
    age: float | None  # of the head of the ready queue
    drain: float | None
    drift: int
    pause_left: int

    @property
    def wrong(self) -> str:
        """ "critical", "warning" or "": what somebody should look at."""
        if self.state in BAD_STATES or self.drift > 0:
            return "critical"
        return "warning" if self.buried or self.state == "saturated" else ""


class ServerRow(NamedTuple):
    """One server; `trouble` says why numbers are missing."""

    server: str
    address: str
    version: str
    up: bool
    uptime: int
    connections: int
    jobs: int
    queues: int
    draining: bool
    rejected: int
    trouble: str

    @property
    def wrong(self) -> str:
        """ "critical", "warning" or ""."""
        if not self.up:
            return "critical"
        return "warning" if self.draining or self.trouble else ""


class Overview(NamedTuple):
    """What all servers look like."""

    servers: Sequence[ServerRow]
    queues: Sequence[QueueRow]


class Lookout:
    """Looks at all servers at once; one that hangs delays the others by no more than `timeout`."""

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

    def look(self) -> Overview:
        """Observe every server; who has not answered by then is said to be down."""
        end = self._clock() + self._timeout
        self._seen = {}
        for observer in self._observers:
            # One that still hangs in the last look (in a name lookup) is not asked again.
            if observer not in self._running or not self._running[observer].is_alive():
                thread = threading.Thread(target=self._observe, args=(observer,), daemon=True)
                self._running[observer] = thread
                thread.start()
        for thread in self._running.values():
            thread.join(max(0.0, end - self._clock()))
        servers: list[ServerRow] = []
        queues: list[QueueRow] = []
        seen = dict(self._seen)
        for observer in self._observers:
            address = observer.server.address
            late = Observation(trouble=f"{address}: no answer within {self._timeout:g} s")
            one = seen.get(observer, late)
            servers.append(server_row(observer, one))
            queues += queue_rows(observer.server.node, one)
        return Overview(servers, queues)

    def close(self) -> None:
        """Close the connections of those that do not hang."""
        for observer in self._observers:
            if observer in self._running and not self._running[observer].is_alive():
                observer.close()

    def _observe(self, observer: Observer) -> None:
        self._seen[observer] = observer.observe()


def server_row(observer: Observer, seen: Observation) -> ServerRow:
    """The row of one server."""
    stats = seen.stats or {}
    jobs = sum(
        count_of(stats, f"current-jobs-{state}")
        for state in ("ready", "reserved", "delayed", "buried")
    )
    return ServerRow(
        server=observer.server.node,
        address=str(observer.server.address),
        version=str(stats.get("version", "")),
        up=seen.stats is not None,
        uptime=count_of(stats, "uptime"),
        connections=count_of(stats, "current-connections"),
        jobs=jobs,
        queues=count_of(stats, "current-tubes"),
        draining=bool(count_of(stats, "draining")),
        rejected=max(0, count_of(stats, "cmd-put") - count_of(stats, "total-jobs")),
        trouble=seen.trouble,
    )


def queue_rows(server: str, seen: Observation) -> Iterable[QueueRow]:
    """The rows of one server's queues."""
    for name, values in (seen.queues or {}).items():
        yield QueueRow(
            server=server,
            queue=name,
            ready=int(values.get("current_jobs_ready", 0)),
            reserved=int(values.get("current_jobs_reserved", 0)),
            delayed=int(values.get("current_jobs_delayed", 0)),
            buried=int(values.get("current_jobs_buried", 0)),
            watching=int(values.get("current_watching", 0)),
            waiting=int(values.get("current_waiting", 0)),
            state=STATES[int(values.get("consumer_state", CODES["ok"]))],
            put_rate=values.get("put_rate"),
            delete_rate=values.get("delete_rate"),
            age=values.get("head_ready_age"),
            drain=values.get("drain_seconds"),
            drift=int(values.get("drift", 0)),
            pause_left=int(values.get("pause_time_left", 0)),
        )
