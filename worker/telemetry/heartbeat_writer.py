"""Writes one worker's heartbeat record into Redis, and reads what is there under its id."""

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

TIMEOUT = 0.5  # seconds for each call: the pulse thread makes them, and must not wait longer


class PreviousHeartbeat(NamedTuple):
    """The record that a heartbeat has replaced, and the version key as it was then."""

    record: Heartbeat | None
    version: bytes | None


class HeartbeatWriter:
    """One worker's record. Every method may raise RedisError.

    Each round trip ends within TIMEOUT; no method makes more than four.
    Ages are by Redis's clock, which all workers share. If `is_expected`, the configuration names
    this worker, and its record does not expire.
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
        """The record that is there now, and its age in seconds."""
        clock, record, score = self._execute(
            [("TIME",), ("GET", worker_key(self._worker)), ("ZSCORE", WORKERS_KEY, self._worker)]
        )
        return _decode(record), self._set_clock(clock) - float(score or 0.0)

    def write(self, heartbeat: Heartbeat) -> PreviousHeartbeat:
        """Write the record, in one round trip; the first time in two."""
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
        """True unless another instance has written the record that is there now."""
        before, _ = self.read()
        return before is None or before.instance == instance

    def remove(self, instance: str) -> None:
        """Remove the record, unless another instance has written it."""
        if self.is_mine(instance):
            self._execute([("DEL", worker_key(self._worker)), ("ZREM", WORKERS_KEY, self._worker)])

    def forget_expired(self) -> None:
        """Remove the ids of all workers whose records have expired."""
        clock = self._execute([("TIME",)])[0]
        limit = self._set_clock(clock) - RECORD_EXPIRY
        old = self._execute([("ZRANGEBYSCORE", WORKERS_KEY, "-inf", limit)])[0]
        if old:
            keys = [worker_key(member.decode("utf-8", "replace")) for member in old]
            records = self._execute([("MGET", *keys)])[0]
            gone = [member for member, record in zip(old, records, strict=True) if record is None]
            if gone:
                self._execute([("ZREM", WORKERS_KEY, *gone)])

    def _set_clock(self, clock: Sequence[bytes]) -> float:
        """Note Redis's reply to TIME, and return it in seconds."""
        now = int(clock[0]) + int(clock[1]) / 1e6
        self._clock_offset = now - self._monotonic()
        return now


def _decode(record: bytes | None) -> Heartbeat | None:
    """The record; None if there is none, or none that we can read."""
    try:
        return None if record is None else decode_heartbeat(record)
    except RecordError:
        return None
