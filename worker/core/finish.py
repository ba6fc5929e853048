"""Ends a run: puts the follow-up job, acknowledges the job, and reports the outcome.

The follow-up is put before the acknowledgement. If the worker crashes in between, the follow-up is
put twice, with the same id; in the other order it would be lost.
"""

import time
from collections.abc import Callable

from msgspec.structs import replace

from beanwatch.worker.api.envelope import EnvelopeError, FollowUp, encode_follow_up
from beanwatch.worker.core.connection import ConnectionLostError, RefusedError, WorkerConnection
from beanwatch.worker.core.decide import Verdict
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.guard.black_box import BlackBox
from beanwatch.worker.monitor.exceptions import render_traceback
from beanwatch.worker.monitor.runs import Run, Sinks
from beanwatch.worker.telemetry.run_starts import RunStarts


class Finisher:
    """Ends runs of jobs. The main thread uses it; after a hard deadline the pulse thread does."""

    def __init__(
        self,
        connection: WorkerConnection,
        sinks: Sinks,
        starts: RunStarts,
        state: WorkerState,
        black_box: BlackBox,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._sinks = connection, sinks
        self._starts, self._state, self._black_box = starts, state, black_box
        self._monotonic = monotonic

    def end(
        self,
        job: RunningJob,
        verdict: Verdict,
        error: BaseException | None = None,
        *,
        and_reserve: bool = False,
    ) -> Run:
        """Put the job's follow-up, send `verdict.action` to beanstalkd, and report the run.

        `error` is the handler's exception, for its traceback. `and_reserve` reserves the
        next job together with the acknowledgement. The outcome of the returned run is `lost` if
        beanstalkd did not confirm the acknowledgement. The black box is empty afterwards.
        """
        duration = self._monotonic() - job.started_monotonic
        lost = ""
        follow_ups: tuple[str, ...] = ()
        which, follow_up = pick_follow_up(job, verdict)
        if follow_up is not None:
            try:
                verdict, follow_ups = self._put(job, verdict, which, follow_up)
            except ConnectionLostError as closed:
                lost = f"the {which} follow-up was not put: {closed}"
        run = Run(
            server=self._connection.server_id,
            queue=job.queue,
            job=job.name,
            job_id=job.id,
            attempt=job.attempt,
            outcome=verdict.outcome,
            uuid=job.uuid,
            reason=verdict.reason,
            traceback=render_traceback(error),
            started_at=job.started_at,
            wait=job.wait,
            duration=duration,
            delay=verdict.delay,
            parent=job.envelope.parent or "",
            follow_ups=follow_ups,
            source=None if verdict.outcome == "ok" else job.source,
        )
        self._black_box.write_outcome(run.outcome)
        self._sinks.on_finishing(run)
        if not lost:
            lost = self._acknowledge(job, verdict, and_reserve=and_reserve)
        if lost:
            run = mark_lost(run, lost)
            # The next delivery must know that this one was a run.
            self._starts.try_to_record(run.server, job.id, job.stats.reserves)
        elif job.start_is_recorded:
            self._starts.forget(run.server, job.id, job.stats.reserves)
        # From here on, a crash is not the job's fault; the next instance must not record this run.
        self._black_box.clear()
        self._sinks.on_finished(run)
        self._state.processed += 1
        self._state.failed += run.outcome != "ok"
        self._state.busy_seconds += duration
        return run

    def _acknowledge(self, job: RunningJob, verdict: Verdict, *, and_reserve: bool) -> str:
        """Acknowledge the job. Return why beanstalkd did not confirm that; "" if it did."""
        try:
            is_ours = self._connection.acknowledge(
                verdict.action,
                job.id,
                job.stats.priority,
                verdict.delay,
                and_reserve=and_reserve,
            )
        except ConnectionLostError as closed:
            return f"beanstalkd did not confirm the {verdict.action}: {closed}"
        return "" if is_ours else "beanstalkd took the job back, because its TTR had passed"

    def _put(
        self, job: RunningJob, verdict: Verdict, which: str, follow_up: FollowUp
    ) -> tuple[Verdict, tuple[str, ...]]:
        parent = job.uuid or None
        try:
            new_id, body = encode_follow_up(
                follow_up, which, identity=job.identity, parent=parent, now=time.time()
            )
            self._connection.put(
                follow_up.queue, body, follow_up.priority, follow_up.delay, follow_up.ttr
            )
        except (RefusedError, EnvelopeError) as refused:
            reason = f"the {which} follow-up was not put: {refused}"
            return Verdict("buried", "bury", f"{verdict.reason}; {reason}".lstrip("; ")), ()
        return verdict, (new_id,)


def mark_lost(run: Run, cause: str) -> Run:
    """Return the run with the outcome `lost`: nobody knows whether its job was acknowledged."""
    reason = f"{cause}; without this, the outcome would be {run.outcome}"
    if run.reason:
        reason = f"{reason} ({run.reason})"
    return replace(run, outcome="lost", reason=reason)


def pick_follow_up(job: RunningJob, verdict: Verdict) -> tuple[str, FollowUp | None]:
    """Return the kind of follow-up to put (`success` or `failure`), and the follow-up.

    The follow-up is None if the envelope has none of this kind, or if the job will run again.
    """
    if verdict.action == "release":
        return "", None
    if verdict.outcome == "ok":
        return "success", job.envelope.success
    return "failure", job.envelope.failure
