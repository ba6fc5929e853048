"""Keeps what was last seen of each server and of the workers, and makes Prometheus's page of it.

A scrape never waits for a server: it gets the last poll, and its age. What was read too long ago is
left out, because nobody knows whether it is still true.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from beanwatch.collectors.poll.derive import ObservedQueue, absent_queue, merge, server_values
from beanwatch.collectors.poll.fleet_totals import FleetTotals
from beanwatch.collectors.poll.poller import Poll
from beanwatch.collectors.poll.worker_series import seen_values
from beanwatch.queues.consumers import STATES
from beanwatch.queues.model import Number, ServerState
from beanwatch.queues.selection import OTHER
from beanwatch.store.health import HEALTH, decide_health
from beanwatch.store.heartbeats import Worker
from beanwatch.store.run_totals import BOUNDS
from beanwatch.telemetry.prometheus import Page, labels, quote
from beanwatch.telemetry.series import COLLECTOR, QUEUE, SERVER, WORKER_SEEN

SAME_START = 5.0  # seconds by which a computed start may differ from the one before


class Kept(NamedTuple):
    """What is known of a server: its last poll, and the last one that read its queues."""

    poll: Poll
    at: float  # when the poll ended, by the board's clock
    queues: Poll | None = None
    queues_at: float = 0.0
    start: float | None = None  # when the server was started, in seconds since the epoch


class Board:
    """Takes polls from the pollers' threads, and gives pages to the threads that serve them.

    `max_age` (seconds): what was read longer ago is left out of the page. `totals` has the runs of
    all workers.
    """

    def __init__(
        self,
        max_age: float,
        totals: FleetTotals | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._max_age, self._totals = max_age, totals
        self._clock, self._now = clock, now
        self._lock = threading.Lock()
        self._servers: dict[str, Kept] = {}
        self._workers: tuple[Worker, ...] = ()
        self._workers_at = float("-inf")

    def post(self, poll: Poll) -> None:
        """Keep a poll in place of the one before of the same server."""
        node, at = poll.server.node, self._clock()
        with self._lock:
            before = self._servers.get(node)
            start = self._find_start(poll.seen.state, before)
            queues, queues_at = (before.queues, before.queues_at) if before else (None, 0.0)
            if poll.has_queues or poll.seen.state is None:
                queues, queues_at = poll, at
            self._servers[node] = Kept(poll, at, queues, queues_at, start)

    def post_workers(self, workers: Sequence[Worker], deploys: int = 0, stamp: int = 0) -> None:
        """Keep the workers as they were read from Redis now."""
        with self._lock:
            self._workers, self._workers_at = tuple(workers), self._clock()

    def knows(self, servers: Iterable[str]) -> bool:
        """Return True if each of these servers (nodes) has been polled at least once."""
        return self._servers.keys() >= set(servers)

    def page(self) -> Page:
        """Return the page of all that is known now."""
        with self._lock:
            servers, workers = dict(self._servers), self._workers
            has_workers = self._clock() - self._workers_at <= self._max_age
        page = Page()
        for kept in servers.values():
            self._add_server(page, kept)
        for worker in workers if has_workers else ():
            self._add_worker(page, worker)
        if has_workers and self._totals is not None:
            _add_totals(page, self._totals)
        return page

    def _find_start(self, state: ServerState | None, before: Kept | None) -> float | None:
        """Return when the server was started; None: unknown.

        Uptimes are often whole seconds. So a start that differs by less is the same one.
        """
        known = before.start if before else None
        if state is None or state.uptime is None:
            return known
        start = self._now() - state.uptime
        return known if known is not None and abs(start - known) < SAME_START else round(start, 3)

    def _add_server(self, page: Page, kept: Kept) -> None:
        poll, state = kept.poll, kept.poll.seen.state
        own = labels(system=poll.server.system.name, server=poll.server.node)
        age = self._clock() - kept.at
        page.add("collector_poll_age_seconds", own, round(age, 3))
        if age > self._max_age:
            return
        page.add_values(COLLECTOR, own, _describe_poll(kept))
        if state is None:
            page.add("server_up", own, 0)
            return
        values = server_values(state, poll.restarts, poll.seen.missing_jobs)
        page.add_values(SERVER, own, values)
        if kept.start is not None:
            page.add("server_start_time_seconds", own, kept.start)
        if state.version is not None:
            page.add("server_info", f"{own},{labels(version=state.version)}", 1)
        for stat, value in state.native.items():
            page.add("server_stat", f"{own},{labels(stat=stat)}", value)
        if kept.queues is not None and kept.queues.seen.queues is not None:
            age = self._clock() - kept.queues_at
            page.add("collector_queues_age_seconds", own, round(age, 3))
            if age <= self._max_age:
                _add_queues(page, own, kept.queues, kept.queues.seen.queues)

    def _add_worker(self, page: Page, worker: Worker) -> None:
        own, read_at = labels(worker=worker.id), self._now() - (self._clock() - self._workers_at)
        page.add("worker_last_beat_timestamp_seconds", own, round(read_at - worker.age, 3))
        health = decide_health(worker)
        if health in HEALTH:
            page.add_state("worker_state", own, HEALTH, health)
        if worker.heartbeat:
            values = seen_values(worker.heartbeat)
            page.add_values(WORKER_SEEN, own, values)


def _add_totals(page: Page, totals: FleetTotals) -> None:
    for (server, queue, job), total in totals.sums():
        own = labels(server=server, queue=queue, job=job)
        for outcome, runs in total.outcomes.items():
            page.add("fleet_job_runs_total", f"{own},outcome={quote(outcome)}", runs)
        page.add_histogram(
            "fleet_job_duration_seconds", own, BOUNDS, total.buckets, round(total.seconds, 6)
        )


def _describe_poll(kept: Kept) -> dict[str, Number]:
    poll, queues = kept.poll, kept.queues
    values: dict[str, Number] = {
        "success": int(poll.seen.is_complete),
        "poll_seconds": round(poll.seconds, 6),
        "missed_ticks": poll.missed,
    }
    if queues is not None and queues.seen.queues is not None:
        own, rest = queues.seen.chosen
        values |= {"queues": len(own) + len(rest), "queues_skipped": len(rest)}
    return values


def _add_queues(page: Page, server: str, poll: Poll, queues: Mapping[str, ObservedQueue]) -> None:
    """Add a server's queues. `server` has its labels; the queues beyond max_queues share a name."""
    own, rest = poll.seen.chosen
    for name in own:
        if name in queues:
            _add_queue(page, server, name, queues[name].values())
    if others := [queues[name] for name in rest if name in queues]:
        _add_queue(page, server, OTHER, merge(others))
    absent = absent_queue(poll.server.system)
    for name in poll.expected:
        if absent and name not in queues:
            _add_queue(page, server, name, absent)


def _add_queue(page: Page, server: str, queue: str, values: Mapping[str, Number]) -> None:
    own = f"{server},queue={quote(queue)}"
    page.add_values(QUEUE, own, values)
    code = values.get("consumer_state")
    if code is not None:
        page.add_state("queue_consumer_state", own, STATES, STATES[int(code)])
