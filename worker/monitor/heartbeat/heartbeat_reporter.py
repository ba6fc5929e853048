"""HeartbeatReporter: writes heartbeats to Redis; stops on a duplicate id or a restart request."""

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import RedisError
from beanwatch.store.heartbeats import Heartbeat
from beanwatch.worker.monitor.heartbeat.heartbeat_record import HeartbeatRecord
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import HeartbeatWriter

RECYCLES_KEPT = 3600.0  # seconds for which the times of recycles are handed on
MAX_RECYCLES_KEPT = 20  # of their times


class Ending(NamedTuple):
    """The reason for which a process ends. `reason` is for people.

    `is_requested`: somebody or something asked it to end, so its end is no problem.
    """

    is_requested: bool = True
    reason: str = ""
    by_command: bool = False  # an operator sent the command `stop`
    recycled: str = ""  # the limit that it has reached; it is to be started again
    keeps_recycles: bool = False  # it is to be started again, so that its recycles still count


class HeartbeatReporter:
    """Writes the heartbeats of this process to Redis. A failure is logged, and jobs keep running.

    It calls `on_duplicate` with the reason if an older instance runs under the same id. It calls
    `restart` with the reason if an operator has requested a restart of all workers, after a random
    part of `restart_spread` (seconds).
    """

    def __init__(
        self,
        writer: HeartbeatWriter,
        record: HeartbeatRecord,
        log: FilteringBoundLogger,
        on_duplicate: Callable[[str], object],
        restart: Callable[[str], object],
        *,
        restart_spread: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer, self._record = writer, record
        self._log, self._clock = log, clock
        self._on_duplicate, self._restart = on_duplicate, restart
        self._lost = 0  # consecutive heartbeats that could not be written
        self._duplicates = DuplicateWatch(record.identity)
        self._versions = VersionWatch(restart_spread)

    def write(self, heartbeat: Heartbeat) -> None:
        """Write a record. Stop the worker if another one has its id, or for a requested restart."""
        try:
            seen = self._writer.write(heartbeat)
        except RedisError as error:
            self._lost += 1
            if self._lost == 1:
                self._log.warning(
                    "cannot write the heartbeat, jobs keep running: {reason}", reason=str(error)
                )
        else:
            if self._lost:
                self._log.info(
                    "heartbeats are written again, {missed} were lost", missed=self._lost
                )
                self._lost = 0
            self._versions.observe(seen.version, self._clock())
            if other := self._duplicates.find(seen.record, self._writer.started_at):
                rival = describe_rival(other, self._record.identity.hostname)
                why = f"another worker with this id runs on {rival}"
                self._on_duplicate(why)
        if self._versions.is_restart_due(self._clock()):
            why = "all workers were told to restart ({beanwatch}:version has changed)"
            self._versions.take_restart()
            self._restart(why)

    def report_exit(self, failure: str, ending: Ending) -> bool:
        """Write why this process exits. Return False if Redis fails.

        After a failure, the record stays and shows the text `failure`. If it is empty, the worker
        stops as requested. Then the record is removed. If the configuration expects this worker,
        the record stays instead, with `is_over` set, until the next instance starts. If the record
        tells of a crash or of recycles, it stays for an hour, for the next instance.
        """
        is_requested = not failure and ending.is_requested
        is_awaited = is_requested and self._writer.is_expected
        instance = self._record.identity.instance
        last = self._record.make(failure)._replace(is_over=not failure)
        if is_requested:
            last = count_recycle(last, ending)
        try:
            if (failure or is_awaited) and self._writer.is_mine(instance):
                self._writer.write(last)
            elif is_requested and (last.last_exit or last.recycled_at):
                self._writer.retire(last)
            else:
                self._writer.remove(instance)
            # Last: a Redis whose memory is full removes the record, but takes no new one.
            if ending.by_command:
                self._writer.record_stop(instance, ending.reason)
        except RedisError as error:
            self._log.warning(
                "cannot write the reason for the exit to Redis: {reason}", reason=str(error)
            )
            return False
        return True


def describe_rival(other: Heartbeat, hostname: str) -> str:
    """Return where another worker with this worker's id runs, and what to do about it.

    `hostname` is the whole name of this host.
    """
    where = f"{other.hostname or other.host} with pid {other.pid}"
    if other.hostname in ("", hostname):
        return f"{where}: stop it, or start this worker with another --name"
    return (
        f"{where}, and this host is {hostname}: both are {other.host} in the workers' ids, so "
        "start one of them with another --host"
    )


def count_recycle(last: Heartbeat, ending: Ending) -> Heartbeat:
    """Return the last record of an instance with its recycles, to which it may add its own end.

    An operator's stop begins the count anew, a restart does not.
    """
    if not ending.keeps_recycles:
        return last._replace(recycles=0, recycled_at=(), recycled_why="")
    recent = [at for at in last.recycled_at if last.beat_at - at < RECYCLES_KEPT]
    if ending.recycled:
        return last._replace(
            recycles=last.recycles + 1,
            recycled_at=(*recent, int(last.beat_at))[-MAX_RECYCLES_KEPT:],
            recycled_why=f"{ending.recycled} (jobs run: {last.processed})",
        )
    return last._replace(recycled_at=tuple(recent))


class DuplicateWatch:
    """Detects that an older instance of this worker is still running under the same id.

    `identity` is this instance's record. If two instances run, the younger one stops.
    """

    def __init__(self, identity: Heartbeat) -> None:
        self._identity = identity
        self._last: Heartbeat | None = None  # the last record of another instance

    def find(self, previous: Heartbeat | None, started_at: float) -> Heartbeat | None:
        """Return `previous` if it belongs to an older instance that is running, else None.

        `previous` is the record that our last heartbeat replaced. It may be left over from an
        instance that has exited, for example if Redis was restored from a backup. Only a record
        whose `beat_at` advances belongs to a running worker. `started_at` is our own start. It and
        that of the other are by Redis's clock, because the clocks of the hosts may differ.
        """
        if previous is None or previous.is_over or previous.instance == self._identity.instance:
            return None
        last, self._last = self._last, previous
        if last is None or last.instance != previous.instance or previous.beat_at <= last.beat_at:
            return None
        mine = (started_at, self._identity.instance)
        return previous if mine > (previous.redis_started_at, previous.instance) else None


class VersionWatch:
    """Watches the Redis key `{beanwatch}:version`; a change requests a restart of all workers.

    Each worker restarts at a random moment within `spread` seconds, so that not all do at once.
    """

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._version: bytes | None = None
        self._is_known = False
        self._restart_at = 0.0

    def observe(self, version: bytes | None, now: float) -> None:
        """Compare the key's value with the previous one; schedule a restart if it has changed.

        The first value is only remembered. None means that the key does not exist. `now` is
        monotonic.
        """
        if not self._is_known:
            self._version, self._is_known = version, True
        elif version is not None and version != self._version:
            self._version = version
            self._restart_at = now + random.random() * self._spread

    def is_restart_due(self, now: float) -> bool:
        """Return True once a scheduled restart is due; `now` is monotonic."""
        return bool(self._restart_at) and now >= self._restart_at

    def take_restart(self) -> None:
        """Forget the scheduled restart, which is being carried out."""
        self._restart_at = 0.0
