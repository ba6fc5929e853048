"""Keeps what was last seen of each server and of the workers, and makes Prometheus's page of it.

A scrape never waits for a server: it gets the last poll, and its age. What was read too long ago is
left out, because nobody knows whether it is still true.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from beanwatch.collectors.poll.derive import ObservedQueue, absent_queue, merge, server_values
from beanwatch.collectors.poll.fleet_totals import FleetTotals, Kind, Sum
from beanwatch.collectors.poll.poller import Poll
from beanwatch.collectors.poll.worker_series import FleetPoll, seen_values
from beanwatch.queues.consumers import CODES, STATES
from beanwatch.queues.model import Number, QueueState, ServerState
from beanwatch.queues.selection import OTHER
from beanwatch.store.health import HEALTH, HEALTH_CODES, decide_health
from beanwatch.store.run_totals import BOUNDS
from beanwatch.telemetry.prometheus import Page, labels, quote
from beanwatch.telemetry.series import (
    COLLECTOR,
    QUEUE,
    SERVER,
    WORKER_GROUP,
    WORKER_SEEN,
    WORKERS,
)

SAME_START = 5.0  # seconds by which a computed start may differ from the one before
# Values of a server that some systems know only from a poll that reads the queues.
SUMS = ("queues", "ready", "reserved", "delayed", "buried")
COUNTERS = tuple(
    one.name for one in QUEUE.series if one.is_counter and one.name in QueueState._fields
)
NEW: Mapping[str, Number] = dict.fromkeys(COUNTERS, 0)  # the counters of a queue that is new


class Others(NamedTuple):
    """The counters of the queues beyond max_queues, which share one name.

    Their plain sum falls when one of these queues is deleted. Prometheus would take that for a
    restart, and would count the rest a second time. So their increases are added up.
    """

    totals: Mapping[str, Number] = {}  # by how much they have risen since the board was made
    # The last known counters of each queue; None: there were no such queues in the last poll.
    last: Mapping[str, Mapping[str, Number]] | None = None
    instance: str | None = None  # the process of the server that `last` is of

    def add(self, poll: Poll) -> "Others":
        """Return them after a poll; unchanged if it could not read the queues."""
        queues, state, rest = poll.seen.queues, poll.seen.state, frozenset(poll.seen.chosen.rest)
        if queues is None or state is None:
            return self
        if not rest:
            return Others(self.totals)
        before, begin_at_0 = self.last, poll.server.system.counters_begin_at_0
        if before is not None and state.instance != self.instance:
            before = {}  # the counters of the new process began at 0
        totals = dict(self.totals)
        last: dict[str, Mapping[str, Number]] = {}
        for name, queue in queues.items():
            known = None if before is None else before.get(name, NEW if begin_at_0 else None)
            last[name] = now = {**(known or {}), **_counters(queue)}
            if known is not None and name in rest:
                for counter in now.keys() & known.keys():
                    value, then = now[counter], known[counter]
                    if value < then:
                        then = 0 if begin_at_0 else value
                    totals[counter] = totals.get(counter, 0) + value - then
        return Others(totals, last, state.instance)


class Kept(NamedTuple):
    """A server as it was last seen: its last poll, and the last one that read its queues."""

    poll: Poll
    at: float  # when the poll ended, by the board's clock
    # The last poll of this process of the server that was to read its queues, and was answered.
    queues: Poll | None = None
    queues_at: float = 0.0
    start: float | None = None  # when the server was started, in seconds since the epoch
    others: Others = Others()


class Board:
    """Takes polls from the pollers' threads, and gives pages to the threads that serve them.

    `max_age` (seconds): what was read longer ago is left out of the page. `totals` has the runs of
    all workers. A new kind of job is shown without runs for `zeros_for` seconds.
    """

    def __init__(
        self,
        max_age: float,
        totals: FleetTotals | None = None,
        *,
        zeros_for: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._max_age, self._totals, self._zeros_for = max_age, totals, zeros_for
        self._clock, self._now = clock, now
        self._lock = threading.Lock()
        self._servers: dict[str, Kept] = {}
        self._first_shown: dict[Kind, float] = {}  # when a page had this kind of job first
        self._fleet: FleetPoll | None = None
        self._fleet_at = float("-inf")

    def post(self, poll: Poll) -> None:
        """Keep a poll in place of the one before of the same server.

        If the server did not answer, its queues are kept: the next poll may not read them, and
        they would be missing from the page until one does.
        """
        node, at = poll.server.node, self._clock()
        with self._lock:
            before = self._servers.get(node)
            state = poll.seen.state
            start = self._find_start(state, before)
            queues, queues_at = (before.queues, before.queues_at) if before else (None, 0.0)
            last = queues.seen.state if queues else None
            if state is not None and poll.has_queues:
                queues, queues_at = poll, at
            elif state is not None and last is not None and state.instance != last.instance:
                queues = None
            others = (before.others if before else Others()).add(poll)
            self._servers[node] = Kept(poll, at, queues, queues_at, start, others)

    def post_fleet(self, fleet: FleetPoll) -> None:
        """Keep what was read from Redis now in place of the last reading."""
        with self._lock:
            self._fleet, self._fleet_at = fleet, self._clock()

    def knows(self, servers: Iterable[str]) -> bool:
        """Return True if each of these servers (nodes) has been polled at least once."""
        return self._servers.keys() >= set(servers)

    def page(self) -> Page:
        """Return the page of all that is known now."""
        with self._lock:
            servers, fleet = dict(self._servers), self._fleet
            fleet_at, at = self._fleet_at, self._clock()
        page = Page()
        writer = _Writer(page, at, self._max_age)
        writer.add_servers(servers.values())
        is_known = fleet is not None and fleet.is_known and at - fleet_at <= self._max_age
        if fleet is not None:
            page.add_one(WORKERS, "", {"success": int(is_known)})
        if fleet is not None and is_known:
            writer.add_fleet(fleet, self._now() - (at - fleet_at))
            if self._totals is not None:
                self._add_totals(page, self._totals, at)
        return page

    def _add_totals(self, page: Page, totals: FleetTotals, at: float) -> None:
        """Add the runs of each kind of job; at first without runs.

        Prometheus takes the first value that it sees for one that was always there. So the first
        failure of a new kind would never be counted. Several may scrape, and people look at the
        page, too: each must have the time to see the 0.
        """
        for kind, known in totals.sums():
            is_new = at - self._first_shown.setdefault(kind, at) < self._zeros_for
            total = Sum() if is_new else known
            server, queue, job = kind
            own = labels(server=server, queue=queue, job=job)
            for outcome, runs in total.outcomes.items():
                page.add("fleet_job_runs_total", f"{own},outcome={quote(outcome)}", runs)
            page.add_histogram(
                "fleet_job_duration_seconds", own, BOUNDS, total.buckets, round(total.seconds, 6)
            )

    def _find_start(self, state: ServerState | None, before: Kept | None) -> float | None:
        """Return when the server was started; None: unknown.

        Uptimes are often whole seconds. So a start that differs by less is the same one.
        """
        known = before.start if before else None
        if state is None or state.uptime is None:
            return known
        start = self._now() - state.uptime
        return known if known is not None and abs(start - known) < SAME_START else round(start, 3)


class _Writer:
    """Writes what a board knows at the time `at` (by its clock) to a page."""

    def __init__(self, page: Page, at: float, max_age: float) -> None:
        self._page, self._at, self._max_age = page, at, max_age

    def add_servers(self, servers: Iterable[Kept]) -> None:
        """Add the servers with their queues and last polls; only the age of a poll that is old."""
        page = self._page
        queues: list[tuple[str, ObservedQueue]] = []
        for kept in servers:
            poll, state = kept.poll, kept.poll.seen.state
            own = labels(system=poll.server.system.name, server=poll.server.node)
            age = self._at - kept.at
            page.add("collector_poll_age_seconds", own, round(age, 3))
            if not self._is_fresh(kept.at):
                continue
            swept = kept.queues if self._is_fresh(kept.queues_at) else None
            page.add_one(COLLECTOR, own, _describe_poll(poll, swept))
            if state is None:
                page.add_one(SERVER, own, {"up": 0})
                continue
            page.add_one(SERVER, own, self._server_values(kept, state))
            self._add_others(own, kept, state)
            queues += self._list_queues(own, kept)
        owners, observed = [own for own, _ in queues], [queue for _, queue in queues]
        page.add_all(QUEUE, owners, dict(_columns(observed)))
        states = [(own, queue.consumer_state) for own, queue in queues]
        codes = [(own, CODES[state]) for own, state in states if state is not None]
        page.add_states("queue_consumer_state", STATES, codes)

    def add_fleet(self, fleet: FleetPoll, read_at: float) -> None:
        """Add the workers; `read_at` is when they were read, in seconds since the epoch."""
        healths, live = [], 0
        for worker in fleet.workers:
            own = labels(worker=worker.id)
            beat_at = round(read_at - worker.age, 3)
            self._page.add("worker_last_beat_timestamp_seconds", own, beat_at)
            health = decide_health(worker)
            live += health != "dead"
            if health in HEALTH_CODES:
                healths.append((own, HEALTH_CODES[health]))
            if worker.heartbeat:
                self._page.add_one(WORKER_SEEN, own, seen_values(worker.heartbeat))
        self._page.add_states("worker_state", HEALTH, healths)
        self._page.add_one(WORKERS, "", {"live": live})
        for group, missing in fleet.missing.items():
            self._page.add_one(WORKER_GROUP, labels(group=group), {"missing": missing})

    def _server_values(self, kept: Kept, state: ServerState) -> Mapping[str, Number]:
        """Return the values of a server.

        Those that only a poll of its queues can tell come from the last such poll.
        """
        swept = kept.queues.seen if kept.queues and self._is_fresh(kept.queues_at) else None
        if swept is None or swept.state is None:
            return server_values(state, kept.poll.restarts, None)
        unknown = [name for name in SUMS if getattr(state, name) is None]
        state = state._replace(**{name: getattr(swept.state, name) for name in unknown})
        return server_values(state, kept.poll.restarts, swept.missing_jobs, swept.problems)

    def _is_fresh(self, at: float) -> bool:
        return self._at - at <= self._max_age

    def _add_others(self, own: str, kept: Kept, state: ServerState) -> None:
        """Add what is in no table: version, start, and the server's own numbers."""
        if kept.start is not None:
            self._page.add("server_start_time_seconds", own, kept.start)
        if state.version is not None:
            self._page.add("server_info", f"{own},{labels(version=state.version)}", 1)
        for stat, value in state.native.items():
            self._page.add("server_stat", f"{own},{labels(stat=stat)}", value)

    def _list_queues(self, server: str, kept: Kept) -> Iterator[tuple[str, ObservedQueue]]:
        """Yield labels and values of a server's queues; those beyond max_queues share a name."""
        if kept.queues is None or kept.queues.seen.queues is None:
            return
        queues, (own, rest) = kept.queues.seen.queues, kept.queues.seen.chosen
        age = self._at - kept.queues_at
        self._page.add("collector_queues_age_seconds", server, round(age, 3))
        if not self._is_fresh(kept.queues_at):
            return
        for name in own:
            if name in queues:
                yield f"{server},queue={quote(name)}", queues[name]
        if others := [queues[name] for name in rest if name in queues]:
            values = merge(others)
            values |= {name: kept.others.totals.get(name, 0) for name in COUNTERS if name in values}
            yield f"{server},queue={quote(OTHER)}", _to_queue(OTHER, values)
        absent = absent_queue(kept.poll.server, kept.queues.seen.absent)
        for name in kept.poll.expected:
            if absent and name not in queues:
                yield f"{server},queue={quote(name)}", _to_queue(name, absent)


def _counters(queue: ObservedQueue) -> dict[str, Number]:
    """Return the known counters of a queue by name."""
    values = {name: getattr(queue.state, name) for name in COUNTERS}
    return {name: value for name, value in values.items() if value is not None}


def _columns(queues: Sequence[ObservedQueue]) -> Iterator[tuple[str, list[Any]]]:
    """Yield each series that Prometheus gets: its name, and the values of all queues."""
    for one in QUEUE.series:
        if not one.prometheus:
            continue
        if hasattr(ObservedQueue, one.name):
            yield one.name, [getattr(queue, one.name) for queue in queues]
        else:
            place = QueueState._fields.index(one.name)
            yield one.name, [queue.state[place] for queue in queues]


def _to_queue(name: str, values: Mapping[str, Any]) -> ObservedQueue:
    """Turn values by their names in `series.QUEUE` into a queue."""
    fields = {field: value for field, value in values.items() if field in QueueState._fields}
    rest = {field: values.get(field) for field in ObservedQueue._fields[1:]}
    if rest["consumer_state"] is not None:
        rest["consumer_state"] = STATES[rest["consumer_state"]]
    return ObservedQueue(QueueState(name, **fields), **rest)


def _describe_poll(poll: Poll, queues: Poll | None) -> dict[str, Number]:
    values: dict[str, Number] = {
        "success": int(poll.seen.is_complete),
        "poll_seconds": round(poll.seconds, 6),
        "missed_ticks": poll.missed,
    }
    if queues is None or poll.seen.state is None:
        return values
    values["queues_success"] = queues.seen.queues_success
    if queues.seen.queues is not None:
        own, rest = queues.seen.chosen
        values |= {"queues": len(own) + len(rest), "queues_skipped": len(rest)}
    return values
