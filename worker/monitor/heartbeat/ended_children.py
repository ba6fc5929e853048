"""EndedChildren: tells in Redis how children ended that could not say so themselves."""

from collections import deque
from typing import NamedTuple

from beanwatch.net.redis_url import RedisError, RedisUrl
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import HeartbeatWriter
from beanwatch.worker.monitor.heartbeat.previous import describe_end

MAX_KEPT = 1000  # children, while Redis cannot be used


class EndedChild(NamedTuple):
    """A child that has ended. `cause` says why, if nobody wanted that; "": it was wanted."""

    worker: str
    pid: int
    cause: str


class EndedChildren:
    """Removes the records of ended children, or lets them tell of the crash for a while."""

    def __init__(self, redis: RedisUrl, parent: str) -> None:
        self._redis, self._parent = redis, parent
        self._ended: deque[EndedChild] = deque(maxlen=MAX_KEPT)

    def add(self, child: EndedChild) -> None:
        """Take a child that has ended; any thread may call this."""
        self._ended.append(child)

    def tick(self, _now: float) -> None:
        """Correct the records of the children. Tries again later if Redis cannot be used."""
        while self._ended:
            child = self._ended[0]
            try:
                self._correct(child)
            except RedisError:
                return  # the heartbeat reports it
            self._ended.popleft()

    def _correct(self, child: EndedChild) -> None:
        writer = HeartbeatWriter(self._redis, child.worker)
        try:
            record, _ = writer.read()
            if record is None or (record.pid, record.child_of) != (child.pid, self._parent):
                return  # it has told its end itself, or the next child has this id already
            if not child.cause:
                writer.remove(record.instance)
                return
            crash = describe_end(record, child.cause)
            writer.retire(
                record._replace(
                    is_over=True,
                    restarts=record.restarts + 1,
                    last_exit=crash,
                    crashed_at=record.beat_at,
                )
            )
        finally:
            writer.close()
