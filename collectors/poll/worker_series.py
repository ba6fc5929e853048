"""Compute series of workers from their heartbeats in Redis: a dead worker cannot send its own."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.queues.selection import name_nodes
from beanwatch.store.fleet import Fleet, is_child, is_new, is_of_interest, is_unsettled
from beanwatch.store.health import HEALTH_CODES, decide_health
from beanwatch.store.heartbeats import VERSION_KEY, Heartbeat, Worker, read_workers
from beanwatch.store.redis_state import read_age
from beanwatch.telemetry.graphite import Values
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.telemetry.nodes import worker_nodes
from beanwatch.telemetry.series import WORKERS

SOURCE = "workers"  # the source of these points in the outbox; a server's source is its node


class FleetPoll(NamedTuple):
    """One reading of the heartbeats, for those who publish it: to Graphite, to Prometheus.

    `stamp` is its time in seconds since the epoch. `is_known` is false if the heartbeats could not
    be read: then there is nothing else. `missing` tells for each entry of `workers.expected`, by
    its id or glob, how many workers it lacks. `deploys` counts how often all workers were told to
    restart.
    """

    stamp: int = 0
    workers: Sequence[Worker] = ()
    deploys: int = 0
    missing: Mapping[str, int] = {}
    is_known: bool = True


PublishFleet = Callable[[FleetPoll], object]


def derive_fleet(prefix: str, fleet: FleetPoll) -> Iterator[tuple[str, Values]]:
    """Yield each worker's path and values, then what `workers.expected` lacks, then the totals.

    A worker's values are the age of its heartbeat (seconds), its state as a number, its restarts,
    its recycles and its free disk (bytes). A worker whose record cannot be read has only the age.
    """
    if not fleet.is_known:
        yield f"{prefix}.workers", {"success": 0}
        return
    counts = {**dict.fromkeys(WORKERS.names, 0), "success": 1, "deploys": fleet.deploys}
    for worker in fleet.workers:
        health = decide_health(worker)
        if health in counts:
            counts[health] += 1
        counts["live"] += health != "dead"
        values: dict[str, int | float] = {"beat_age": round(worker.age, 3)}
        if health in HEALTH_CODES:
            values["state"] = HEALTH_CODES[health]
        if worker.heartbeat:
            values |= seen_values(worker.heartbeat)
        yield f"{prefix}.worker.{worker_nodes(worker.id)}", values
    for group, node in name_nodes(fleet.missing).items():
        yield f"{prefix}.worker_group.{node}", {"missing": fleet.missing[group]}
    yield f"{prefix}.workers", counts


def seen_values(heartbeat: Heartbeat) -> dict[str, int | float]:
    """Return the values of `series.WORKER_SEEN` that a worker's record has."""
    values: dict[str, int | float] = {
        "restarts": heartbeat.restarts,
        "recycles": heartbeat.recycles,
    }
    if heartbeat.disk_free is not None:
        values["disk_free"] = heartbeat.disk_free
    return values


def count_missing(
    workers: Collection[Worker], expected: Collection[str], groups: Mapping[str, int]
) -> dict[str, int]:
    """Return how many workers each expected id and each group lacks.

    `groups`: its least number of live workers, by its glob. An id lacks none if Redis knows it: a
    dead worker has a series that says so.
    """
    known = {one.id for one in workers}
    alive = [one.id for one in workers if not is_child(one) and decide_health(one) != "dead"]
    return {name: int(name not in known) for name in expected} | {
        glob: max(0, least - sum(fnmatchcase(name, glob) for name in alive))
        for glob, least in groups.items()
    }


class WorkerPoller:
    """Reads the workers' heartbeats from Redis, and passes them to all functions in `publish`.

    `count` gets all workers, `publish` those of which somebody may want to know. `expected` has
    their ids in the configuration, `groups` the least number of workers for each glob there.
    `is_wanted` is false if nobody has configured Redis: then nothing is published before the first
    worker is seen. `timeout` (seconds) limits each request to Redis.
    """

    def __init__(
        self,
        url: RedisUrl,
        problems: ProblemLog,
        publish: Sequence[PublishFleet],
        count: Callable[[Sequence[Worker]], object],
        *,
        expected: Collection[str] = (),
        groups: Mapping[str, int] | None = None,
        is_wanted: bool = True,
        timeout: float = 5.0,
    ) -> None:
        self._url = url
        self._redis = open_redis(url, timeout)
        self._problems = problems
        self._publish, self._count = publish, count
        self._expected, self._groups = expected, groups or {}
        self._is_wanted = is_wanted

    def __str__(self) -> str:
        return f"redis {self._url.address}"

    def poll(self, stamp: int) -> str:
        """Read the heartbeats once. Return an error text, "" if there was no error.

        `stamp` is the time of the points, in seconds since the epoch.
        """
        try:
            fleet = Fleet(
                read_workers(self._redis.execute), redis_age=read_age(self._redis.execute)
            )
            (version,) = self._redis.execute([("GET", VERSION_KEY)])
        except RedisError as error:
            return self._fail(stamp, f"cannot read the workers' heartbeats: {error}")
        workers = fleet.workers
        if doubt := next((worker.doubt for worker in workers if worker.doubt), ""):
            text = f"no worker states are sent, because they are not known: {doubt}"
            return self._fail(stamp, text)
        self._is_wanted = self._is_wanted or bool(workers)
        if is_new(fleet) and is_unsettled(fleet, len(self._expected) + sum(self._groups.values())):
            return ""  # the next poll knows more
        self._count(workers)
        found = {worker.id: worker for worker in workers}
        shown = [
            one
            for one in workers
            if is_of_interest(one, found, self._expected.__contains__, self._is_in_a_group)
        ]
        deploys = int(version) if version and version.isdigit() else 0
        missing = count_missing(workers, self._expected, self._groups)
        self._tell(FleetPoll(stamp, shown, deploys, missing))
        unreadable = [f"{worker.id}: {worker.problem}" for worker in workers if worker.problem]
        if unreadable:
            return self._report(f"a worker's record cannot be read: {'; '.join(unreadable[:5])}")
        self._problems.clear(SOURCE, "the workers' heartbeats can be read again")
        return ""

    def _is_in_a_group(self, worker: str) -> bool:
        return any(fnmatchcase(worker, glob) for glob in self._groups)

    def _fail(self, stamp: int, text: str) -> str:
        self._tell(FleetPoll(stamp, is_known=False))
        return self._report(text)

    def _tell(self, fleet: FleetPoll) -> None:
        for publish in self._publish if self._is_wanted else ():
            publish(fleet)

    def _report(self, text: str) -> str:
        self._problems.report(SOURCE, text)
        return text
