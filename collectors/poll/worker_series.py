"""Compute series of workers from their heartbeats in Redis: a dead worker cannot send its own."""

from collections.abc import Callable, Iterator, Sequence

from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.store.health import HEALTH_CODES, decide_health
from beanwatch.store.heartbeats import VERSION_KEY, Heartbeat, Worker, read_workers
from beanwatch.telemetry.graphite import Values
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.telemetry.nodes import worker_nodes
from beanwatch.telemetry.series import WORKERS

# A function that gets the workers, how often all were told to restart, and the time of the poll in
# seconds since the epoch.
PublishWorkers = Callable[[Sequence[Worker], int, int], object]
SOURCE = "workers"  # the source of these points in the outbox; a server's source is its node


def derive_workers(
    prefix: str, workers: Sequence[Worker], deploys: int = 0
) -> Iterator[tuple[str, Values]]:
    """Yield each worker's path and values, then the path and values of all workers together.

    A worker's values are the age of its heartbeat (seconds), its state as a number, its restarts,
    its recycles and its free disk (bytes). A worker whose record cannot be read has only the age.
    The values of all workers together are the number of workers in each state, and `deploys`: how
    often all workers were told to restart.
    """
    counts = {**dict.fromkeys(WORKERS.names, 0), "deploys": deploys}
    for worker in workers:
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


class WorkerPoller:
    """Reads the workers' heartbeats from Redis, and passes them to all functions in `publish`.

    `timeout` (seconds) limits each request to Redis.
    """

    def __init__(
        self,
        url: RedisUrl,
        problems: ProblemLog,
        publish: Sequence[PublishWorkers],
        *,
        timeout: float = 5.0,
    ) -> None:
        self._url = url
        self._redis = open_redis(url, timeout)
        self._problems = problems
        self._publish = publish

    def __str__(self) -> str:
        return f"redis {self._url.address}"

    def poll(self, stamp: int) -> str:
        """Read the heartbeats once. Return an error text, "" if there was no error.

        `stamp` is the time of the points, in seconds since the epoch.
        """
        try:
            workers = read_workers(self._redis.execute)
            (version,) = self._redis.execute([("GET", VERSION_KEY)])
            deploys = int(version) if version and version.isdigit() else 0
        except RedisError as error:
            return self._report(f"cannot read the workers' heartbeats: {error}")
        if doubt := next((worker.doubt for worker in workers if worker.doubt), ""):
            return self._report(f"no worker states are sent, because they are not known: {doubt}")
        for publish in self._publish:
            publish(workers, deploys, stamp)
        unreadable = [f"{worker.id}: {worker.problem}" for worker in workers if worker.problem]
        if unreadable:
            return self._report(f"a worker's record cannot be read: {'; '.join(unreadable[:5])}")
        self._problems.clear(SOURCE, "the workers' heartbeats can be read again")
        return ""

    def _report(self, text: str) -> str:
        self._problems.report(SOURCE, text)
        return text
