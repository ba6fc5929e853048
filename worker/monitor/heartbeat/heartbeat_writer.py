"""HeartbeatWriter: the Redis commands that write, read and remove one worker's heartbeat record."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from beanwatch.net.redis_url import Command, RedisUrl, open_redis
from beanwatch.store.clock import parse_time
from beanwatch.store.heartbeats import (
    ENDED_KEY,
    RECORD_EXPIRY,
    VERSION_KEY,
    WORKERS_KEY,
    Heartbeat,
    decode_heartbeat,
    encode_heartbeat,
    make_worker,
    worker_key,
)
from beanwatch.store.records import RecordError
from beanwatch.store.stops import Stop, stop_commands

MAX_WORKERS = 100_000  # ids in Redis; whoever may write there can add any number of them
ROUND_TRIP_TIMEOUT = 0.5  # seconds; short, since the thread also guards the running job


class PreviousHeartbeat(NamedTuple):
    """The content of Redis before a heartbeat was written.

    `record` is the record that the heartbeat has replaced; None if there was none, or if it could
    not be decoded. `version` is the value of `{beanwatch}:version`; None if it is not set.
    """

    record: Heartbeat | None
    version: bytes | None


class HeartbeatWriter:
    """Reads and writes the record of the worker with the id `worker`. All methods raise RedisError.

    Each round trip ends within ROUND_TRIP_TIMEOUT; no method makes more than four. Times are by
    Redis's clock, since the clocks of hosts differ. `is_expected`: the configuration lists this
    worker, so its record does not expire.
    """

    def __init__(
        self,
        url: RedisUrl,
        worker: str,
        *,
        is_expected: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._worker = worker
        self.is_expected = is_expected
        self._expiry: Command = () if is_expected else ("EX", RECORD_EXPIRY)
        self._monotonic, self._wall = monotonic, wall
        redis = open_redis(url, ROUND_TRIP_TIMEOUT)
        self._execute, self._close = redis.execute, redis.close
        self.problem = ""  # why the record that `read` found is unreadable
        self._clock_offset: float | None = None  # Redis's clock minus our monotonic one, seconds
        self._started = monotonic()
        self.started_at = 0.0  # the start by Redis's clock; 0 before its first answer
        # Sent with the first record: the worker runs again.
        self._first_commands: list[Command] = [("ZREM", ENDED_KEY, worker)]

    def close(self) -> None:
        """Close the connection. The next call connects again."""
        self._close()

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send other commands over the connection of the heartbeats; return their replies."""
        return self._execute(commands)

    def time(self) -> float:
        """Return the time by Redis's clock, in seconds since the epoch.

        Before the first answer of Redis, it is by the clock of this host.
        """
        return self._wall() if self._clock_offset is None else self._now()

    def read(self) -> tuple[Heartbeat | None, float]:
        """Return the stored record (None if missing or unreadable) and its age in seconds.

        If it is unreadable, `problem` says why.
        """
        clock, record, score = self._execute(
            [("TIME",), ("GET", worker_key(self._worker)), ("ZSCORE", WORKERS_KEY, self._worker)]
        )
        self.problem = make_worker(self._worker, 0.0, record).problem
        return _decode(record), self._set_clock(clock) - float(score or 0.0)

    def write(self, heartbeat: Heartbeat) -> PreviousHeartbeat:
        """Write the record; return what was stored before. The first call takes two round trips."""
        if self._clock_offset is None:
            self._set_clock(self._execute([("TIME",)])[0])
        key = worker_key(self._worker)
        stamped = heartbeat._replace(redis_started_at=self.started_at)
        clock, version, before, *_ = self._execute(
            [
                ("TIME",),
                ("GET", VERSION_KEY),
                ("GET", key),
                ("SET", key, encode_heartbeat(stamped), *self._expiry),
                ("ZADD", WORKERS_KEY, self._now(), self._worker),
                *self._first_commands,
            ]
        )
        self._first_commands = []
        self._set_clock(clock)
        return PreviousHeartbeat(_decode(before), version)

    def is_mine(self, instance: str) -> bool:
        """Return False if another instance has written the stored record."""
        before, _ = self.read()
        return before is None or before.instance == instance

    def remove(self, instance: str) -> None:
        """Remove the record of `instance`; do nothing if another instance has overwritten it."""
        if self.is_mine(instance):
            self._execute([("DEL", worker_key(self._worker)), ("ZREM", WORKERS_KEY, self._worker)])

    def record_stop(self, instance: str, reason: str) -> None:
        """Record that a command stopped this worker. `reason` names it and its sender."""
        self._execute(stop_commands(Stop(self._worker, instance, reason), self.time()))

    def retire(self, heartbeat: Heartbeat) -> None:
        """Write the last record of a worker that need not run again, but has something to tell.

        The worker leaves the set of workers. Do nothing if another instance has overwritten the
        record.
        """
        if self.is_mine(heartbeat.instance):
            key = worker_key(self._worker)
            self._execute(
                [
                    ("SET", key, encode_heartbeat(heartbeat), "EX", RECORD_EXPIRY),
                    ("ZREM", WORKERS_KEY, self._worker),
                    ("ZADD", ENDED_KEY, self._now(), self._worker),
                ]
            )

    def forget_expired(self) -> int:
        """Remove all workers whose records have expired from both sets of worker ids.

        If more than MAX_WORKERS remain, also remove those whose last heartbeats are the oldest.
        Return how many these are.
        """
        clock = self._execute([("TIME",)])[0]
        limit = self._set_clock(clock) - RECORD_EXPIRY
        self._execute([("ZREMRANGEBYSCORE", ENDED_KEY, "-inf", limit)])
        old = self._execute([("ZRANGEBYSCORE", WORKERS_KEY, "-inf", limit)])[0]
        if old:
            keys = [worker_key(member.decode("utf-8", "replace")) for member in old]
            records = self._execute([("MGET", *keys)])[0]
            gone = [member for member, record in zip(old, records, strict=True) if record is None]
            if gone:
                self._execute([("ZREM", WORKERS_KEY, *gone)])
        return int(self._execute([("ZREMRANGEBYRANK", WORKERS_KEY, 0, -MAX_WORKERS - 1)])[0])

    def _now(self) -> float:
        return self._monotonic() + (self._clock_offset or 0.0)

    def _set_clock(self, clock: Sequence[bytes]) -> float:
        """Store the offset of Redis's clock, from a reply to TIME. Return the reply in seconds."""
        now = parse_time(clock)
        self._clock_offset = now - self._monotonic()
        self.started_at = self.started_at or self._started + self._clock_offset
        return now


class NoHeartbeatWriter(HeartbeatWriter):
    """Takes the place of a HeartbeatWriter if Redis is off: it writes nothing and finds nothing."""

    def __init__(self) -> None:
        self.is_expected, self.problem, self.started_at = False, "", 0.0

    def close(self) -> None:
        """Do nothing."""

    def time(self) -> float:
        """Return the time by the clock of this host, in seconds since the epoch."""
        return time.time()

    def read(self) -> tuple[Heartbeat | None, float]:
        """Return no record."""
        return None, 0.0

    def write(self, heartbeat: Heartbeat) -> PreviousHeartbeat:
        """Write nothing."""
        return PreviousHeartbeat(None, None)

    def remove(self, instance: str) -> None:
        """Remove nothing."""

    def record_stop(self, instance: str, reason: str) -> None:
        """Record nothing."""

    def retire(self, heartbeat: Heartbeat) -> None:
        """Write nothing."""

    def forget_expired(self) -> int:
        """Remove nothing, and return 0."""
        return 0


def _decode(record: bytes | None) -> Heartbeat | None:
    """Decode a stored record; None if there is none, or if it is invalid."""
    try:
        return None if record is None else decode_heartbeat(record)
    except RecordError:
        return None
