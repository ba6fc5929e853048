"""RunStarts: records in Redis that a run has started, in the rare cases in which this matters."""

import time
from collections.abc import Callable, Collection

from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.store.started_runs import forget_start, record_start

RECORD_TIMEOUT = 0.5  # seconds; a job, or the worker's start, waits for it


class RunStarts:
    """Records the starts of runs of jobs that a worker did not acknowledge before.

    Each call connects and disconnects: most workers never need it. `url` is None if Redis is off.
    """

    def __init__(
        self,
        url: RedisUrl | None,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._log, self._clock = url, log, clock

    def record(self, server: str, job_id: int, delivery: int, known: Collection[int] = ()) -> int:
        """Record one start; return how many runs of the job started before.

        `known` are deliveries of the job of which the caller knows that they became runs. Raises
        RedisError. `server` and `delivery` are as in `beanwatch.store.started_runs`.
        """
        if not server:
            raise RedisError("the server sends no id, so no run can be recorded")
        if self._url is None:
            raise RedisError("Redis is off (redis.url is empty), so no run can be recorded")
        with open_redis(self._url, RECORD_TIMEOUT) as link:
            return record_start(link.execute, server, job_id, delivery, self._clock(), known)

    def forget(self, server: str, job_id: int, delivery: int) -> None:
        """Remove the record of one start: the run was acknowledged. Log a warning if that fails."""
        if self._url is None:
            return
        try:
            with open_redis(self._url, RECORD_TIMEOUT) as link:
                forget_start(link.execute, server, job_id, delivery)
        except RedisError as error:
            self._log.warning(
                "could not record in Redis that a run of job {job_id} was acknowledged, so it "
                "counts as one that killed its worker: {reason}",
                job_id=job_id,
                reason=str(error),
            )

    def try_to_record(self, server: str, job_id: int, delivery: int) -> bool:
        """Record one start; if that fails, log a warning and return False."""
        try:
            self.record(server, job_id, delivery)
        except RedisError as error:
            self._log.warning(
                "could not record in Redis that a run of job {job_id} started and was not "
                "acknowledged, so it may run once more than its max_attempts: {reason}",
                job_id=job_id,
                reason=str(error),
            )
            return False
        return True
