"""Write the heartbeat to Redis, and act on what is found there: another instance, a new version."""

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import RedisError
from beanwatch.store.heartbeats import Heartbeat
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.state import DUPLICATE, RECYCLED, STOPPED, WorkerState, random_delay
from beanwatch.worker.telemetry.heartbeat_record import HeartbeatRecord
from beanwatch.worker.telemetry.heartbeat_writer import HeartbeatWriter
from beanwatch.worker.telemetry.host_watch import stop_once


class HeartbeatReporter:
    """Writes heartbeats. While Redis is away jobs go on, and the lost heartbeats are counted."""

    def __init__(
        self,
        writer: HeartbeatWriter,
        record: HeartbeatRecord,
        state: WorkerState,
        connection: WorkerConnection,
        log: FilteringBoundLogger,
        *,
        restart_spread: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer, self._record = writer, record
        self._state, self._connection, self._log = state, connection, log
        self._clock = clock
        self._lost = 0  # heartbeats, in a row
        self._duplicates = DuplicateWatch(record.identity)
        self._versions = VersionWatch(restart_spread)

    def write(self, heartbeat: Heartbeat) -> None:
        """Write a record. Stops the worker if its id is taken, or to start a new version."""
        try:
            seen = self._writer.write(heartbeat)
        except RedisError as error:
            self._lost += 1
            if self._lost == 1:
                self._log.warning("redis is gone, jobs go on: {reason}", reason=str(error))
        else:
            if self._lost:
                self._log.info("redis is back after {missed} lost heartbeats", missed=self._lost)
                self._lost = 0
            self._versions.see(seen.version, self._clock())
            if other := self._duplicates.find(seen.record):
                why = f"the same id runs on {other.host}, pid {other.pid}"
                stop_once(self._state, self._connection, why, DUPLICATE)
        if self._versions.is_restart_due(self._clock()):
            stop_once(self._state, self._connection, "beanwatch:version was raised", RECYCLED)

    def last_words(self, words: str) -> bool:
        """Write how this process ends. False if Redis did not take it.

        With `words` (a failure) the record is kept and shows them. Without, the worker stopped as
        requested: its record is removed or, for an expected worker, marked `is_over` until the next
        instance starts.
        """
        is_awaited = self._writer.is_expected and self._state.exit_code in (STOPPED, RECYCLED)
        instance = self._record.identity.instance
        try:
            if (words or is_awaited) and self._writer.is_mine(instance):
                self._writer.write(self._record.make(words)._replace(is_over=not words))
            else:
                self._writer.remove(instance)
        except RedisError as error:
            self._log.warning("redis does not take the last words: {reason}", reason=str(error))
            return False
        return True


class DuplicateWatch:
    """Finds an older instance under the same id. Two that started at once see each other here."""

    def __init__(self, identity: Heartbeat) -> None:
        self._identity = identity
        self._last: Heartbeat | None = None  # record of another instance

    def find(self, previous: Heartbeat | None) -> Heartbeat | None:
        """The older instance if `previous`, which our record replaced, shows that it is alive.

        It may be our predecessor's old record (Redis may have been restored from a backup). Only a
        record whose `beat_at` advances belongs to a live worker.
        """
        if previous is None or previous.is_over or previous.instance == self._identity.instance:
            return None
        last, self._last = self._last, previous
        if last is None or last.instance != previous.instance or previous.beat_at <= last.beat_at:
            return None
        mine = (self._identity.started_at, self._identity.instance)
        return previous if mine > (previous.started_at, previous.instance) else None


class VersionWatch:
    """A raised `beanwatch:version` restarts every worker, each at a random moment within `spread`.

    `spread` is in seconds.
    """

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._version: bytes | None = None
        self._is_known = False
        self._restart_at = 0.0

    def see(self, version: bytes | None, now: float) -> None:
        """Take in the version that Redis has; the first one is that of this instance."""
        if not self._is_known:
            self._version, self._is_known = version, True
        elif version is not None and version != self._version:
            self._version = version
            self._restart_at = now + random_delay(self._spread)

    def is_restart_due(self, now: float) -> bool:
        """True once the moment has come."""
        return bool(self._restart_at) and now >= self._restart_at
