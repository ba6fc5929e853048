"""Writes how each run of a job ended into the ledger in Redis, without waiting for Redis."""

import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

from beanwatch.net.redis_url import Command
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.ledger import JOBS_KEY, BuriedJob, buried_key, job_key, uuid_key
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry.redis_stream import RedisStream

Mode = Literal["all", "failures", "off"]

DAY = 86400
KEPT = 7 * DAY  # seconds for which a job is kept that failed at least once
KEPT_OK = DAY  # seconds for any other
RUNS_KEPT = 50  # the last runs of one job
KEYS_KEPT = 100_000  # the last keys of the ledger; a job with a uuid has two
BURIED_KEPT = 10_000  # the jobs of one queue with the highest ids
REASON_SIZE = 500  # characters
TRACEBACK_SIZE = 2000  # characters at its end, which says what was raised
RETRY_TRACEBACK_SIZE = 500  # characters, for a run that is retried and likely to fail the same way
TRIM_EVERY = 10.0  # seconds
TRIM_AT_ONCE = 1000  # keys; few, because Redis does nothing else while a script runs
TRIM_AFTER = 250  # runs written: they add at most 500 keys, half of what one trim removes
# The outcomes that bury a job, or may.
BURIES = frozenset(outcome.name for outcome in OUTCOMES if outcome.may_be_buried)

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


class LedgerWriter:
    """Writes one entry for each run that `mode` selects. Writing an entry twice leaves one.

    all: every run. failures: every run except those that were ok at the first attempt. off: none.
    `on_finishing` writes the outcome before the job is acknowledged, so that the entry survives a
    crash of the worker; `on_finished` writes again only if the outcome was another.
    """

    def __init__(
        self,
        stream: RedisStream,
        worker: str,
        instance: str,
        mode: Mode = "failures",
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._mode = mode
        self._clock = clock
        self._encode = msgspec.json.Encoder().encode
        # The start of every entry, a JSON object that is left open for the fields of the run.
        self._head = self._encode({"worker": worker, "instance": instance})[:-1] + b","
        self._announced: Run | None = None  # by `on_finishing`, not yet finished
        self._written = 0  # runs since the last trim
        self._trimmed_at = clock()

    @property
    def dropped(self) -> int:
        """Writes lost, of everything that is sent over this connection."""
        return self._stream.dropped

    def on_finishing(self, run: Run) -> None:
        """Write the run as it is about to be acknowledged."""
        self._announced = run
        if self._wants(run):
            self._stream.send(self._commands(run))
            self._written += 1

    def on_finished(self, run: Run) -> None:
        """Write the run if it was not announced; correct its entry if it ended in another way."""
        announced, self._announced = self._announced, None
        if run is announced:
            return  # it ended as announced
        if announced is not None and (announced.job_id, announced.attempt) != (
            run.job_id,
            run.attempt,
        ):
            announced = None  # that was another run
        if self._wants(run) or (announced is not None and self._wants(announced)):
            self._stream.send(self._commands(run, corrects=announced is not None))
            self._written += 1

    def tick(self) -> None:
        """Send what could not be sent before, and remove the oldest jobs now and then."""
        now = self._clock()
        rounds = self._written // TRIM_AFTER
        if rounds or (self._written and now - self._trimmed_at >= TRIM_EVERY):
            self._written, self._trimmed_at = 0, now
            trim = ("EVAL", _TRIM, 1, JOBS_KEY, KEYS_KEPT, int(now - KEPT), TRIM_AT_ONCE)
            self._stream.send([trim] * (rounds + 1))
        self._stream.flush()

    def close(self, timeout: float) -> None:
        """Send the rest and close the connection."""
        self._stream.close(timeout)

    def _wants(self, run: Run) -> bool:
        """True if the mode selects this run."""
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
            by_id = uuid_key(run.server, run.job_id)
            commands += [
                ("SET", by_id, run.uuid, "EX", kept),
                ("ZADD", JOBS_KEY, int(run.started_at), by_id),
            ]
        buried = buried_key(run.server, run.queue)
        if run.attempt > 1 or corrects or run.outcome in BURIES:
            commands.append(("ZREMRANGEBYSCORE", buried, run.job_id, run.job_id))
        if run.outcome in BURIES:
            commands += [
                ("ZADD", buried, run.job_id, self._buried(run)),
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

    def _buried(self, run: Run) -> bytes:
        reason = _fit(run.reason[:REASON_SIZE])
        job = BuriedJob(run.job_id, run.job, run.uuid, run.outcome, reason, self._clock())
        return self._encode(job._asdict())


def _fit(text: str) -> str:
    """Escape what JSON cannot hold: an exception's text may have half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()
