"""FailureWriter: records failed runs with the job's body, so that a person can retry them."""

import time
from collections.abc import Callable

import msgspec

from beanwatch.outcomes import OUTCOMES
from beanwatch.store.failures import (
    MAX_BODY,
    Failure,
    FailureDetail,
    add_command,
    failure_id,
    hash_traceback,
)
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream

FAILED = frozenset(outcome.name for outcome in OUTCOMES if outcome.is_failure)
REASON_SIZE = 500  # characters kept of a reason
TRACEBACK_SIZE = 16_000  # characters kept of a traceback's end, which has the exception


class FailureWriter:
    """Writes each failed run into the list of failures in Redis, before its acknowledgement.

    It uses the ledger's connection, which the ledger closes. Sinks are closed in their order, so
    this sink must come before the ledger. `address` is that of the queue server; "": not known.
    `clock` is Redis's, as `HeartbeatWriter.time` returns it.
    """

    def __init__(
        self,
        stream: RedisStream,
        worker: str,
        address: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream, self._worker, self._address = stream, worker, address
        self._clock = clock
        self._encode = msgspec.json.Encoder().encode
        self._announced: Run | None = None  # the run that `on_finishing` has written

    @property
    def dropped(self) -> int:
        """The number of messages to Redis that were lost, including those of the ledger."""
        return self._stream.dropped

    def on_finishing(self, run: Run) -> None:
        """Write a failed run whose job is about to be acknowledged."""
        self._announced = run
        self._write(run)

    def on_finished(self, run: Run) -> None:
        """Write a failed run that was not announced."""
        announced, self._announced = self._announced, None
        if run is not announced:
            self._write(run)

    def tick(self) -> None:
        """Do nothing: the ledger sends what is queued."""

    def close(self, timeout: float) -> None:
        """Do nothing: the ledger closes the connection."""

    def _write(self, run: Run) -> None:
        if run.outcome not in FAILED:
            return
        job_id = str(run.job_id)
        source, trace = run.source, _fit(run.traceback[-TRACEBACK_SIZE:])
        failure = Failure(
            worker=self._worker,
            server=run.server,
            address=self._address,
            queue=run.queue,
            job=_fit(run.job),
            job_id=job_id,
            uuid=run.uuid,
            attempt=run.attempt,
            outcome=run.outcome,
            reason=_fit(run.reason[:REASON_SIZE]),
            traceback_hash=hash_traceback(trace),
            started_at=run.started_at,
            duration=run.duration,
            delay=run.delay,
            body_size=len(source.body) if source else -1,
            priority=source.priority if source else None,
            ttr=source.ttr if source else None,
        )
        ident = failure_id(run.server, run.queue, job_id, run.attempt, run.started_at)
        detail = FailureDetail(source.body[:MAX_BODY] if source else b"", trace)
        entry = self._encode(failure._asdict())
        self._stream.send([add_command(ident, self._clock(), entry, detail)])


def _fit(text: str) -> str:
    """Escape lone surrogates, which an exception's text may contain and JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
