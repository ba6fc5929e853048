"""LedgerWriter: records in Redis how each run of a job ended, without waiting for replies."""

import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

from beanwatch.net.redis_url import Command
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.bounded_keys import trim_command
from beanwatch.store.ledger import (
    JOBS_KEY,
    BuriedJob,
    buried_key,
    buried_servers_key,
    job_key,
    uuid_key,
)
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream

Mode = Literal["all", "failures", "off"]

DAY = 86400
KEPT = 7 * DAY  # seconds until the runs of a job expire, if one of them failed
KEPT_OK = DAY  # seconds until they expire, if the first run succeeded
RUNS_KEPT = 50  # runs of one job; older ones are removed
KEYS_KEPT = 100_000  # keys of the ledger; older ones are removed. A job with a uuid has two
BURIED_KEPT = 10_000  # buried jobs of one queue: those with the highest ids
BURIED_SERVERS_KEPT = 50  # servers, and earlier processes of servers, of one queue
BURIED_EXPIRY = 30 * DAY  # seconds after the last job of the queue was buried
REASON_SIZE = 500  # characters kept of a reason
TRACEBACK_SIZE = 2000  # characters kept of a traceback's end, which has the exception
RETRY_TRACEBACK_SIZE = 500  # the same if the job is retried: it will often fail the same way again
TRIM_EVERY = 10.0  # seconds between two removals of old keys
TRIM_AT_ONCE = 1000  # keys removed by one script: Redis serves nobody else while it runs
TRIM_AFTER = 250  # runs after which to trim: they add at most 500 keys, and a trim removes 1000
# The outcomes with which a job is buried, or may be.
BURIES = frozenset(outcome.name for outcome in OUTCOMES if outcome.may_be_buried)


class LedgerWriter:
    """Writes one ledger entry for each run that `mode` selects. Resending an entry does no harm.

    Modes: `all` runs; `failures`, all runs except successful first attempts; `off`, none.
    `clock` is Redis's, as `HeartbeatWriter.time` returns it: the times that several workers write
    are compared. `on_finishing` writes the entry before the job is acknowledged, so that it
    survives a crash of the worker. `on_finished` corrects the entry if the run ended differently.
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
        # The beginning of each entry's JSON object; the fields of the run are appended.
        self._head = self._encode({"worker": worker, "instance": instance})[:-1] + b","
        self._announced: Run | None = None  # the run given to `on_finishing`, until `on_finished`
        self._written = 0  # runs since the last trim
        self._trimmed_at = clock()

    @property
    def dropped(self) -> int:
        """The number of messages to Redis that were lost, including those of `OutcomeCounter`."""
        return self._stream.dropped

    def on_finishing(self, run: Run) -> None:
        """Write the entry of a run whose job is about to be acknowledged."""
        self._announced = run
        if self._wants(run):
            self._stream.send(self._commands(run))
            self._written += 1

    def on_finished(self, run: Run) -> None:
        """Write the entry of a run, or correct the entry that `on_finishing` has written for it."""
        announced, self._announced = self._announced, None
        if run is announced:
            return  # `on_finishing` has written it
        if announced is not None and (announced.job_id, announced.attempt) != (
            run.job_id,
            run.attempt,
        ):
            announced = None  # `on_finishing` was called for another run
        # A run that is lost may have been announced by an instance that was killed.
        corrects = announced is not None or run.outcome == "lost"
        if self._wants(run) or (announced is not None and self._wants(announced)):
            self._stream.send(self._commands(run, corrects=corrects))
            self._written += 1

    def tick(self) -> None:
        """Send what is queued, and remove the oldest jobs from Redis from time to time."""
        now = self._clock()
        rounds = self._written // TRIM_AFTER
        if rounds or (self._written and now - self._trimmed_at >= TRIM_EVERY):
            self._written, self._trimmed_at = 0, now
            trim = trim_command(JOBS_KEY, KEYS_KEPT, TRIM_AT_ONCE, expired_before=int(now - KEPT))
            self._stream.send([trim] * (rounds + 1))
        self._stream.flush()

    def close(self, timeout: float) -> None:
        """Send what is queued within `timeout` seconds, and close the connection."""
        self._stream.close(timeout)

    def _wants(self, run: Run) -> bool:
        """Return True if the mode selects this run."""
        if self._mode == "failures":
            return run.outcome != "ok" or run.attempt > 1
        return self._mode == "all"

    def _commands(self, run: Run, corrects: bool = False) -> list[Command]:
        key = job_key(run.uuid, run.server, run.job_id)
        kept = KEPT_OK if run.outcome == "ok" and run.attempt == 1 else KEPT
        now = self._clock()
        commands: list[Command] = []
        if corrects:
            commands.append(("ZREMRANGEBYSCORE", key, run.started_at, run.started_at))
        commands += [
            ("ZADD", key, run.started_at, self._entry(run)),
            ("ZREMRANGEBYRANK", key, 0, -RUNS_KEPT - 1),
            ("EXPIRE", key, kept),
            ("ZADD", JOBS_KEY, now, key),
        ]
        if run.uuid and isinstance(run.job_id, int):
            by_id = uuid_key(run.server, run.job_id)
            commands += [
                ("SET", by_id, run.uuid, "EX", kept),
                ("ZADD", JOBS_KEY, now, by_id),
            ]
        if not isinstance(run.job_id, int):  # only beanstalkd numbers its jobs
            return commands
        buried, servers = buried_key(run.server, run.queue), buried_servers_key(run.queue)
        if run.attempt > 1 or corrects or run.outcome in BURIES:
            commands.append(("ZREMRANGEBYSCORE", buried, run.job_id, run.job_id))
        if run.outcome in BURIES:
            commands += [
                ("ZADD", buried, run.job_id, self._buried(run, run.job_id)),
                ("ZREMRANGEBYRANK", buried, 0, -BURIED_KEPT - 1),
                ("EXPIRE", buried, BURIED_EXPIRY),
                ("ZADD", servers, now, run.server),
                ("ZREMRANGEBYRANK", servers, 0, -BURIED_SERVERS_KEPT - 1),
                ("EXPIRE", servers, BURIED_EXPIRY),
            ]
        return commands

    def _entry(self, run: Run) -> bytes:
        if run.reason or run.traceback:
            size = RETRY_TRACEBACK_SIZE if run.outcome == "retry" else TRACEBACK_SIZE
            reason, trace = _fit(run.reason[:REASON_SIZE]), _fit(run.traceback[-size:])
            run = replace(run, reason=reason, traceback=trace)
        if run.source is not None:  # the list of failures has it
            run = replace(run, source=None)
        return self._head + self._encode(run)[1:]

    def _buried(self, run: Run, job_id: int) -> bytes:
        reason = _fit(run.reason[:REASON_SIZE])
        job = BuriedJob(job_id, run.job, run.uuid, run.outcome, reason, self._clock())
        return self._encode(job._asdict())


def _fit(text: str) -> str:
    """Escape lone surrogates, which an exception's text may contain and JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
