"""HeartbeatWriter: the Redis commands that write, read and remove one worker's heartbeat record."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from beanwatch.net.redis_url import Command, RedisUrl, open_redis
from beanwatch.store.heartbeats import (
    RECORD_EXPIRY,
    VERSION_KEY,
    WORKERS_KEY,
    Heartbeat,
    decode_heartbeat,
    encode_heartbeat,
    worker_key,
)
from beanwatch.store.records import RecordError

MAX_WORKERS = 100_000  # ids in Redis; whoever may write there can add any number of them
TIMEOUT = 0.5  # seconds for each round trip; short, since the thread also guards the running job


class PreviousHeartbeat(NamedTuple):
    """What Redis held before a heartbeat was written.

    `record` is the record that the heartbeat has replaced; None if there was none, or if it could
    not be decoded. `version` is the value of `beanwatch:version`; None if it is not set.
    """

    record: Heartbeat | None
    version: bytes | None


class HeartbeatWriter:
    """Reads and writes the record of the worker with the id `worker`. All methods raise RedisError.

    Each round trip ends within TIMEOUT; no method makes more than four. Times are by Redis's clock,
    since the clocks of hosts differ. `is_expected`: the configuration lists this worker, so its
    record does not expire.
    """

    def __init__(
        self,
        url: RedisUrl,
        worker: str,
        *,
        is_expected: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self.is_expected = is_expected
        self._expiry: Command = () if is_expected else ("EX", RECORD_EXPIRY)
        self._monotonic = monotonic
        self._execute = open_redis(url, TIMEOUT).execute
        self._clock_offset: float | None = None  # Redis's clock minus our monotonic one, seconds

    def read(self) -> tuple[Heartbeat | None, float]:
        """Return the stored record (None if missing or unreadable) and its age in seconds."""
        clock, record, score = self._execute(
            [("TIME",), ("GET", worker_key(self._worker)), ("ZSCORE", WORKERS_KEY, self._worker)]
        )
        return _decode(record), self._set_clock(clock) - float(score or 0.0)

    def write(self, heartbeat: Heartbeat) -> PreviousHeartbeat:
        """Write the record; return what was stored before. The first call takes two round trips."""
        if self._clock_offset is None:
            self._set_clock(self._execute([("TIME",)])[0])
        now = self._monotonic() + (self._clock_offset or 0.0)
        key = worker_key(self._worker)
        clock, version, before, *_ = self._execute(
            [
                ("TIME",),
                ("GET", VERSION_KEY),
                ("GET", key),
                ("SET", key, encode_heartbeat(heartbeat), *self._expiry),
                ("ZADD", WORKERS_KEY, now, self._worker),
            ]
        )
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

    def forget_expired(self) -> int:
        """Remove all workers whose records have expired from the set of worker ids.

        If more than MAX_WORKERS remain, also remove those whose last heartbeats are the oldest.
        Return how many these are.
        """
        clock = self._execute([("TIME",)])[0]
        limit = self._set_clock(clock) - RECORD_EXPIRY
        old = self._execute([("ZRANGEBYSCORE", WORKERS_KEY, "-inf", limit)])[0]
        if old:
            keys = [worker_key(member.decode("utf-8", "replace")) for member in old]
            records = self._execute([("MGET", *keys)])[0]
            gone = [member for member, record in zip(old, records, strict=True) if record is None]
            if gone:
                self._execute([("ZREM", WORKERS_KEY, *gone)])
        return int(self._execute([("ZREMRANGEBYRANK", WORKERS_KEY, 0, -MAX_WORKERS - 1)])[0])

    def _set_clock(self, clock: Sequence[bytes]) -> float:
        """Store the offset of Redis's clock, from a reply to TIME. Return the reply in seconds."""
        now = int(clock[0]) + int(clock[1]) / 1e6
        self._clock_offset = now - self._monotonic()
        return now


def _decode(record: bytes | None) -> Heartbeat | None:
    """Decode a stored record; None if there is none, or if it is invalid."""
    try:
        return None if record is None else decode_heartbeat(record)
    except RecordError:
        return None
