"""The series of workers that a dead worker cannot send itself: from the heartbeats in Redis."""

from collections.abc import Iterator, Sequence

from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.net.redis_link import RedisError, RedisLink, RedisUrl
from beanwatch.store.heartbeats import (
    HEALTH_CODES,
    VERSION_KEY,
    Worker,
    decide_health,
    read_workers,
)
from beanwatch.telemetry import series as paths
from beanwatch.telemetry.graphite import Values, make_batches
from beanwatch.telemetry.logging.problems import ProblemLog

SOURCE = "workers"


def derive_workers(
    prefix: str, workers: Sequence[Worker], deploys: int = 0
) -> Iterator[tuple[str, Values]]:
    """Counts over all workers, and for each one its age, state, restarts and free disk.

    `deploys` is how often all workers were told to restart.
    """
    counts = {**dict.fromkeys(paths.WORKERS, 0), "deploys": deploys}
    for worker in workers:
        health = decide_health(worker)
        if health in counts:
            counts[health] += 1
        counts["live"] += health != "dead"
        values: dict[str, int | float] = {
            "beat_age": round(worker.age, 3),
            "state": HEALTH_CODES[health],
        }
        if worker.beat:
            values |= {"restarts": worker.beat.restarts, "disk_free": worker.beat.disk_free}
        yield f"{prefix}.worker.{paths.worker_nodes(worker.id)}", values
    yield f"{prefix}.workers", counts


class WorkerPoller:
    """Reads the heartbeats and puts their points in the outbox; a new connection each time."""

    def __init__(
        self,
        url: RedisUrl,
        outbox: Outbox,
        changes: ProblemLog,
        *,
        prefix: str = paths.PREFIX,
        timeout: float = 5.0,
    ) -> None:
        self._url = url
        self._outbox = outbox
        self._changes = changes
        self._prefix = prefix
        self._timeout = timeout

    def __str__(self) -> str:
        return f"redis {self._url.address}"

    def poll(self, stamp: int) -> str:
        """Read all workers; what was wrong, or an empty text."""
        try:
            with RedisLink(self._url, self._timeout) as link:
                workers = read_workers(link.execute)
                (version,) = link.execute([("GET", VERSION_KEY)])
                deploys = int(version) if version and version.isdigit() else 0
        except RedisError as error:
            self._changes.report(SOURCE, str(error))
            return str(error)
        self._changes.clear(SOURCE, "the workers' heartbeats are read again")
        for batch in make_batches(SOURCE, stamp, derive_workers(self._prefix, workers, deploys)):
            self._outbox.put(batch)
        return ""
