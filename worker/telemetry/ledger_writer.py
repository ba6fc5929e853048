"""Writes what happened to each job into Redis, before the acknowledgement and without waiting."""

import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

from beanwatch.net.redis_link import Command
from beanwatch.store.ledger import JOBS_KEY, buried_key, job_key, uuid_key
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry.redis_stream import RedisOutlet

Mode = Literal["all", "failures", "off"]

DAY = 86400
KEPT = 7 * DAY  # seconds that a job which had trouble is kept
KEPT_OK = DAY
RUNS_KEPT = 50  # of one job, the last ones
KEYS_KEPT = 100_000  # in all, the last ones; a job with a uuid has two
BURIED_KEPT = 10_000  # of one queue
REASON_SIZE = 500  # characters
TRACEBACK_SIZE = 2000  # the end of it, which says what was raised
RETRY_TRACEBACK_SIZE = 500  # of an attempt that is followed by another, likely to say the same
TRIM_EVERY = 10.0  # seconds
TRIM_AT_ONCE = 1000  # keys: a script stops Redis for as long as it runs
TRIM_AFTER = 250  # runs written: so more is let go of than comes in
# Outcomes after which the job is, or may be, buried.
BURIES = frozenset(("buried", "timeout", "poison", "invalid"))

_TRIM = """
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end
over = math.min(over - #old, tonumber(ARGV[3]))
if over > 0 then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, over - 1)
  redis.call('ZREM', KEYS[1], unpack(oldest))
  redis.call('UNLINK', unpack(oldest))
end
return over
"""


class Ledger:
    """One entry for each run that `mode` wants; writing one twice leaves one.

    all: every run. failures: every run but those that were ok at the first attempt.
    `on_finishing` writes the outcome that is about to be acknowledged; `on_finished` writes again
    only if it came out otherwise.
    """

    def __init__(
        self,
        outlet: RedisOutlet,
        worker: str,
        instance: str,
        mode: Mode = "failures",
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outlet = outlet
        self._mode = mode
        self._clock = clock
        self._encode = msgspec.json.Encoder().encode
        # What is the same in all entries: an object that the run's own fields go on with.
        self._head = self._encode({"worker": worker, "instance": instance})[:-1] + b","
        self._intended: Run | None = None
        self._written = 0  # runs since the last trim
        self._trimmed_at = clock()

    @property
    def dropped(self) -> int:
        """Writes lost, of everything that goes through the same connection."""
        return self._outlet.dropped

    def on_finishing(self, run: Run) -> None:
        """Write the run as it is about to be acknowledged, so that it survives our death."""
        self._intended = run
        if self._wants(run):
            self._outlet.send(self._commands(run))
            self._written += 1

    def on_finished(self, run: Run) -> None:
        """Correct what was written, or write what was not announced."""
        intended, self._intended = self._intended, None
        if run is intended:
            return  # it ended as announced
        announced = intended is not None and (intended.job_id, intended.attempt) == (
            run.job_id,
            run.attempt,
        )
        if self._wants(run) or (announced and intended is not None and self._wants(intended)):
            self._outlet.send(self._commands(run, corrects=announced))
            self._written += 1

    def tick(self) -> None:
        """Send what could not be sent; now and then let go of the oldest jobs."""
        now = self._clock()
        rounds = self._written // TRIM_AFTER
        if rounds or (self._written and now - self._trimmed_at >= TRIM_EVERY):
            self._written, self._trimmed_at = 0, now
            trim = ("EVAL", _TRIM, 1, JOBS_KEY, KEYS_KEPT, int(now - KEPT), TRIM_AT_ONCE)
            self._outlet.send([trim] * (rounds + 1))
        self._outlet.flush()

    def close(self, timeout: float) -> None:
        """Send the rest and close the connection."""
        self._outlet.close(timeout)

    def _wants(self, run: Run) -> bool:
        if self._mode == "failures":
            return run.outcome != "ok" or run.attempt > 1
        return self._mode == "all"

    def _commands(self, run: Run, corrects: bool = False) -> list[Command]:
        key = job_key(run.uuid, run.server, run.job_id)
        kept = KEPT_OK if run.outcome == "ok" and run.attempt == 1 else KEPT
        commands: list[Command] = []
        if corrects:
            commands.append(("ZREMRANGEBYSCORE", key, run.started_at, run.started_at))
        commands += [
            ("ZADD", key, run.started_at, self._entry(run)),
            ("ZREMRANGEBYRANK", key, 0, -RUNS_KEPT - 1),
            ("EXPIRE", key, kept),
            ("ZADD", JOBS_KEY, int(run.started_at), key),
        ]
        if run.uuid:
            known_by = uuid_key(run.server, run.job_id)
            commands += [
                ("SET", known_by, run.uuid, "EX", kept),
                ("ZADD", JOBS_KEY, int(run.started_at), known_by),
            ]
        buried = buried_key(run.server, run.queue)
        if run.attempt > 1 or corrects or run.outcome in BURIES:
            commands.append(("ZREMRANGEBYSCORE", buried, run.job_id, run.job_id))
        if run.outcome in BURIES:
            commands += [
                ("ZADD", buried, run.job_id, self._encode(self._buried(run))),
                ("ZREMRANGEBYRANK", buried, 0, -BURIED_KEPT - 1),
                ("EXPIRE", buried, 30 * DAY),
            ]
        return commands

    def _entry(self, run: Run) -> bytes:
        if run.reason or run.traceback:
            size = RETRY_TRACEBACK_SIZE if run.outcome == "retry" else TRACEBACK_SIZE
            reason, trace = _fit(run.reason[:REASON_SIZE]), _fit(run.traceback[-size:])
            run = replace(run, reason=reason, traceback=trace)
        return self._head + self._encode(run)[1:]

    def _buried(self, run: Run) -> dict[str, object]:
        return {
            "job_id": run.job_id,
            "job": run.job,
            "uuid": run.uuid,
            "outcome": run.outcome,
            "reason": _fit(run.reason[:REASON_SIZE]),
            "buried_at": self._clock(),
        }


def _fit(text: str) -> str:
    """What JSON can carry: an exception's text may hold half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()
