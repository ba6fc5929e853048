"""The state of everything at one moment, which all pages show, and the one reader that makes it."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

from beanwatch.checks.lib.chosen_workers import add_exits
from beanwatch.checks.lib.output import PluginResult
from beanwatch.checks.lib.own_services import matcher
from beanwatch.checks.lib.passive import PassiveRound
from beanwatch.checks.lib.services import Service, list_own, plan_services
from beanwatch.collectors.poll.fleet_totals import FleetTotals
from beanwatch.collectors.poll.observer import Observer
from beanwatch.config import Config
from beanwatch.durations import format_duration
from beanwatch.fleet.overview import QueueRow, ServerRow, queue_row, server_row
from beanwatch.net.redis_url import Command, RedisError, RedisUrl, open_redis
from beanwatch.queues.base import ServerError
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server
from beanwatch.store.failures import Failure, FailureReader
from beanwatch.store.fleet import is_of_interest
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.store.outcome_counts import JobKind, read_outcomes
from beanwatch.web.history import History
from beanwatch.web.parts import Part, PartReader
from beanwatch.web.past import Past, add_up, group_by_server, read_past
from beanwatch.web.sources import NO_REDIS
from beanwatch.web.worker_view import worker_view

INTERVAL = 2.0  # seconds between two readings of a server or of the workers
CHECKS_INTERVAL = 15.0  # seconds between two runs of all checks
OUTCOMES_INTERVAL = 10.0  # seconds
PAST_INTERVAL = 5.0  # seconds between two attempts to read the hour before the start
OUTCOME_MINUTES = 60
FLEET = ("", "")  # the key of the sums over all queues in the history


class ServerData(NamedTuple):
    """The result of one reading of a server.

    If the server answered, but not with its queues, `queues` are those of an earlier reading, and
    `queues_trouble` says why. `queues_at` is when they were read, in seconds since the epoch; 0:
    never.
    """

    row: ServerRow
    queues: Sequence[QueueRow] = ()
    queues_at: float = 0.0
    queues_trouble: str = ""


class CheckResult(NamedTuple):
    """A service, and what its check would say now."""

    service: Service
    result: PluginResult


class Parts(NamedTuple):
    """The last value of each part: the servers by name, and what Redis and the checks say."""

    servers: Mapping[str, Part[ServerData]]
    workers: Part[Sequence[Worker]]
    failures: Part[Sequence[Failure]]
    outcomes: Part[Mapping[JobKind, Counter[str]]]
    checks: Part[Sequence[CheckResult]]
    past: Part[Mapping[str, Past]]


class Snapshot:
    """All parts at one moment. `at` is in seconds since the epoch, `number` counts the snapshots.

    `past_trouble` says why the hour before the start is not in the history; "" if it is, or if
    nothing has it. `configured` are the servers by name.
    `redis_is_off` is true if there is no Redis: none is configured, and none has answered at the
    default address. Then there are no workers and no failures. `timeout` is that of each reading in
    seconds.
    """

    def __init__(
        self,
        at: float,
        number: int,
        parts: Parts,
        history: History,
        config: Config,
        *,
        timeout: float,
        configured: Mapping[str, Server],
        redis_is_off: bool = False,
    ) -> None:
        self.at, self.number, self.history = at, number, history
        self.configured = configured
        self.servers, self.workers, self.failures, self.outcomes, self.checks, past = parts
        self.past_trouble = past.error
        self.redis_is_off = redis_is_off
        self._config, self._timeout = config, timeout

    def trouble(self, part: Part[Any], interval: float = INTERVAL) -> str:
        """Return why the value of a part is not of now; "" if it is.

        `interval` is the time between two readings of it in seconds.
        """
        return part.trouble(self.at, 3 * interval + 2 * self._timeout)

    def queues_trouble(self, server: str) -> str:
        """Return why the queues of a server are not those of now; "" if they are."""
        part = self.servers[server]
        return self.trouble(part) or part.value.queues_trouble

    @property
    def checks_trouble(self) -> str:
        """Why the results of the checks are not those of now; "" if they are."""
        if self.checks.error:
            return f"the checks fail: {self.checks.error}"
        if not self.checks.tried_at:
            return "the checks have not run yet"
        # A run reads the servers, Redis, and Graphite, one after another.
        age = self.at - self.checks.read_at
        is_old = age > 3 * CHECKS_INTERVAL + 4 * self._timeout
        return f"no checks for {format_duration(age)}" if is_old else ""

    @cached_property
    def server_rows(self) -> list[ServerRow]:
        """The servers; one that does not answer has its last numbers, `up` False, and why."""
        rows = []
        for part in self.servers.values():
            trouble = self.trouble(part)
            row = part.value.row
            rows.append(row._replace(up=False, trouble=trouble) if trouble else row)
        return rows

    @cached_property
    def queues(self) -> list[QueueRow]:
        """The queues of all servers, with the last numbers of servers that do not answer."""
        return [row for part in self.servers.values() for row in part.value.queues]

    @cached_property
    def worker_views(self) -> list[dict[str, Any]]:
        """The workers as the pages show them; do not change them."""
        read_at, untold = self.workers.read_at, self.untold_workers
        return [worker_view(w, read_at, is_told=w.id not in untold) for w in self.workers.value]

    @cached_property
    def untold_workers(self) -> frozenset[str]:
        """The ids of workers that are no problem, though dead: the check leaves them out, too."""
        found = {one.id: one for one in self.workers.value if not one.has_left}
        is_expected = self._config.expected_workers.__contains__
        is_in_a_group = matcher(group.glob for group in self._config.expected_groups)
        return frozenset(
            ident
            for ident, worker in found.items()
            if not is_of_interest(worker, found, is_expected, is_in_a_group)
        )

    @cached_property
    def stale_servers(self) -> dict[str, float]:
        """The servers whose queues are old: when they were read, by name; 0: never."""
        return {
            node: part.value.queues_at
            for node, part in self.servers.items()
            if self.queues_trouble(node)
        }

    def points(self, key: tuple[str, str], measure: str) -> list[float | None]:
        """Return the last hour of a measure of a queue, or of FLEET."""
        return self.history.points(key, measure, self.at)


class SnapshotReader:
    """Reads servers and Redis, each in a thread of its own, so that one that hangs delays no other.

    `timeout` (seconds) limits each reading. `find_present` returns the configuration without the
    parts that do not exist: before each run of the checks, as a Redis may start later than this.
    `report` gets a text for each fault of beanwatch itself.
    """

    def __init__(
        self,
        config: Config,
        servers: Sequence[Server],
        redis: RedisUrl | None,
        *,
        timeout: float = 5.0,
        find_present: Callable[[Config], Config] = lambda config: config,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.config, self.servers, self.timeout = config, servers, timeout
        self.history = History()
        self._redis, self._redis_exists = redis, config.is_wanted("redis.url")
        self._find_present, self._number = find_present, 0
        self._stop = threading.Event()
        self._totals = FleetTotals(servers, report)
        self._failures = FailureReader()
        self._client = open_redis(redis, timeout) if redis else None
        selection = Selection(config.collect.include, config.collect.exclude)
        self._servers: dict[str, PartReader[ServerData]] = {}
        for server in servers:
            observer = Observer(
                server, selection=selection, timeout=timeout, find_runs=self._totals.queue_runs
            )
            row = ServerRow(server.node, str(server), server.system.name, up=False)
            read = partial(self._read_server, observer)
            self._servers[server.node] = PartReader(
                server.node, INTERVAL, read, ServerData(row), report, close=observer.close
            )
        self._workers: PartReader[Sequence[Worker]] = PartReader(
            "workers", INTERVAL, self._read_workers, (), report
        )
        self._failed: PartReader[Sequence[Failure]] = PartReader(
            "failures", INTERVAL, self._read_failures, (), report
        )
        self._outcomes: PartReader[Mapping[JobKind, Counter[str]]] = PartReader(
            "outcomes", OUTCOMES_INTERVAL, self._read_outcomes, {}, report
        )
        self._checks: PartReader[Sequence[CheckResult]] = PartReader(
            "checks", CHECKS_INTERVAL, self._run_checks, (), report
        )

        self._past: PartReader[Mapping[str, Past]] = PartReader(
            "past", PAST_INTERVAL, self._read_past, {}, report
        )
        self._filled: set[str] = set()  # the servers whose past is in the history

    @property
    def redis(self) -> RedisUrl | None:
        """The Redis; None if it is off, or if nobody has configured it and none has answered."""
        return self._redis if self._redis_exists or self._workers.part.read_at else None

    @property
    def parts(self) -> list[PartReader[Any]]:
        """The readers of all parts that are on."""
        of_redis: list[PartReader[Any]] = [self._workers, self._failed, self._outcomes]
        if self._client is None:
            of_redis = []
        past = [self._past] if self.config.web.history else []
        return [*self._servers.values(), *of_redis, self._checks, *past]

    def start(self) -> None:
        """Start to read."""
        for part in self.parts:
            part.start(self._stop)

    def read_once(self) -> None:
        """Read every part once, one after another, in this thread."""
        for part in self.parts:
            part.read_once()

    def close(self) -> None:
        """Stop reading. A thread that waits for a server ends by itself."""
        self._stop.set()
        for part in self.parts:
            part.close()
        if self._client is not None:
            self._client.close()

    def snapshot(self) -> Snapshot:
        """Return the present values of all parts, and add them to the history. Waits for nothing.

        Call it from one thread, at regular intervals.
        """
        self._number += 1
        snapshot = Snapshot(
            time.time(),
            self._number,
            Parts(
                {node: one.part for node, one in self._servers.items()},
                self._workers.part,
                self._failed.part,
                self._outcomes.part,
                self._checks.part,
                self._past.part,
            ),
            self.history,
            self.config,
            timeout=self.timeout,
            configured={server.node: server for server in self.servers},
            redis_is_off=self.redis is None,
        )
        self._remember(snapshot)
        return snapshot

    def _remember(self, now: Snapshot) -> None:
        rows = [row for row in now.queues if row.server not in now.stale_servers]
        for row in rows:
            self.history.add(
                (row.server, row.queue),
                now.at,
                ready=row.ready,
                put_rate=row.put_rate,
                delete_rate=row.delete_rate,
                age=oldest_wait(row),
            )
        self.history.add(
            FLEET,
            now.at,
            ready=add_known(row.ready for row in rows),
            put_rate=add_known(row.put_rate for row in rows),
            delete_rate=add_known(row.delete_rate for row in rows),
            age=max((age for row in rows if (age := oldest_wait(row)) is not None), default=None),
        )
        for name, past in self._past.part.value.items():
            if name not in self._filled:
                self._filled.add(name)
                for key, measures in past.items():
                    for measure, values in measures.items():
                        self.history.fill(key, measure, values)

    def _read_past(self) -> Mapping[str, Past]:
        """Return the hour before now of each server that answers and has none yet, by its name.

        Nothing before each server was tried. FLEET is the sum of those that answered first.
        """
        parts = {name: one.part for name, one in self._servers.items()}
        rows = [
            row
            for name, part in parts.items()
            if name not in self._filled
            for row in part.value.queues
        ]
        if not rows or not all(part.tried_at for part in parts.values()):
            return {}
        past = read_past(self.config, {(row.server, row.queue) for row in rows})
        return {FLEET[0]: {FLEET: add_up(past)}, **group_by_server(past)}

    def _read_server(self, observer: Observer) -> ServerData:
        seen = observer.observe(problems=True)
        if seen.state is None:
            raise ServerError(seen.trouble)
        server = observer.server
        row = server_row(server, seen)
        if seen.queues is None:
            last = self._servers[server.node].part.value
            return last._replace(row=row, queues_trouble=seen.trouble)
        rows = [queue_row(server.node, queue) for queue in seen.queues.values()]
        return ServerData(row, rows, time.time())

    def _read_workers(self) -> Sequence[Worker]:
        workers = read_workers(self._execute, with_ended=True)
        self._totals.update([worker for worker in workers if not worker.has_left])
        return add_exits(workers, self.config.expected_workers)[0]

    def _read_failures(self) -> Sequence[Failure]:
        return self._failures.read(self._execute)

    def _read_outcomes(self) -> Mapping[JobKind, Counter[str]]:
        return read_outcomes(self._execute, OUTCOME_MINUTES)

    def _execute(self, commands: Sequence[Command]) -> list[Any]:
        if self._client is None:
            raise RedisError(NO_REDIS)
        return self._client.execute(commands)

    def _run_checks(self) -> Sequence[CheckResult]:
        present = self._find_present(self.config)
        self._redis_exists = bool(present.redis.url)
        now = PassiveRound(present, self.servers, self.timeout, program="web")
        now.read()
        services = plan_services(present, self.servers)
        found = [
            CheckResult(one.service, one.result) for one in now.judge(services, list_own(services))
        ]
        now.save()
        return found


def add_known(values: Any) -> float | None:
    """Return the sum of the known values; None if there is none."""
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else None


def oldest_wait(row: QueueRow) -> float | None:
    """Return for how long the first job of a queue waits (seconds): 0 if none does."""
    return 0.0 if row.ready == 0 else row.age
