"""The worker's heartbeat in Redis."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from beanwatch.net.redis_link import Command, RedisError, RedisLink, RedisUrl
from beanwatch.store.heartbeats import (
    VERSION_KEY,
    WORKERS_KEY,
    Beat,
    dump_beat,
    parse_beat,
    worker_key,
)

TIMEOUT = 0.5  # seconds, for a connect and for an answer
KEEP = 3600  # seconds for which a dead worker's record stays


class Seen(NamedTuple):
    """What was in Redis when a beat was written: the record before, and the version key."""

    before: Beat | None
    version: bytes | None


class Heart:
    """Writes one worker's record, stamped by Redis's clock. Every method may raise RedisError.

    No call takes much longer than TIMEOUT. The connection is made in a thread of its own, as
    a name lookup can take as long as it likes. `is_expected`: the configuration expects this
    worker, so its record stays until it is back.
    """

    def __init__(
        self,
        url: RedisUrl,
        worker: str,
        *,
        is_expected: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._worker = worker
        self.is_expected = is_expected
        self._expiry: Command = () if is_expected else ("EX", KEEP)
        self._monotonic = monotonic
        self._link: RedisLink | None = None
        self._dialing: threading.Thread | None = None
        self._error = RedisError("")
        self._ahead: float | None = None  # Redis's clock over our monotonic one

    def look(self) -> tuple[Beat | None, float]:
        """The record that is there and its age in seconds."""
        clock, record, score = self._execute(
            ("TIME",), ("GET", worker_key(self._worker)), ("ZSCORE", WORKERS_KEY, self._worker)
        )
        return parse_beat(record), self._set_clock(clock) - float(score or 0.0)

    def beat(self, beat: Beat) -> Seen:
        """Write the record; one round trip, after the first."""
        if self._ahead is None:
            self._set_clock(self._execute(("TIME",))[0])
        now = self._monotonic() + (self._ahead or 0.0)
        key = worker_key(self._worker)
        clock, version, before, *_ = self._execute(
            ("TIME",),
            ("GET", VERSION_KEY),
            ("GET", key),
            ("SET", key, dump_beat(beat), *self._expiry),
            ("ZADD", WORKERS_KEY, now, self._worker),
        )
        self._set_clock(clock)
        return Seen(parse_beat(before), version)

    def is_mine(self, instance: str) -> bool:
        """True unless another instance has written its record."""
        before, _ = self.look()
        return before is None or before.instance == instance

    def remove(self, instance: str) -> None:
        """Remove the record of a worker that stopped as it should, unless it is another's."""
        if self.is_mine(instance):
            self._execute(("DEL", worker_key(self._worker)), ("ZREM", WORKERS_KEY, self._worker))

    def forget_the_expired(self) -> None:
        """Take out of the set whose records have expired."""
        clock = self._execute(("TIME",))[0]
        limit = self._set_clock(clock) - KEEP
        old = self._execute(("ZRANGEBYSCORE", WORKERS_KEY, "-inf", limit))[0]
        if old:
            records = self._execute(
                ("MGET", *(worker_key(member.decode("utf-8", "replace")) for member in old))
            )[0]
            gone = [member for member, record in zip(old, records, strict=True) if record is None]
            if gone:
                self._execute(("ZREM", WORKERS_KEY, *gone))

    def _execute(self, *commands: Command) -> list[Any]:
        link = self._link or self._connect()
        try:
            link.extend()
            return link.execute(commands)
        except RedisError:
            self._link = None
            raise

    def _connect(self) -> RedisLink:
        if self._dialing is None:
            self._error = RedisError(f"redis {self._url.address}: the connect takes long")
            self._dialing = threading.Thread(target=self._dial, name="heart-dialer", daemon=True)
            try:
                self._dialing.start()
            except RuntimeError as error:  # no more threads
                self._dialing = None
                raise RedisError(f"redis {self._url.address}: {error}") from None
        self._dialing.join(TIMEOUT)
        if not self._dialing.is_alive():
            self._dialing = None
        if self._link is None:
            raise self._error
        return self._link

    def _dial(self) -> None:
        try:
            self._link = RedisLink(self._url, TIMEOUT)
        except RedisError as error:
            self._error = error

    def _set_clock(self, clock: Sequence[bytes]) -> float:
        now = int(clock[0]) + int(clock[1]) / 1e6
        self._ahead = now - self._monotonic()
        return now
