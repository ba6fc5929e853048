"""The end of a run: follow-ups, intent, acknowledgement, outcome. In this order.

Follow-ups come before the acknowledgement: a crash between the two makes a duplicate that
can be told by its id; the other way round, it would lose the follow-up.
"""

import math
import time
import traceback
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from beanwatch.worker.api.envelope import EnvelopeError, FollowUp, encode_follow_up
from beanwatch.worker.core.connection import RefusedError, Session, SessionError
from beanwatch.worker.core.decide import Verdict, describe
from beanwatch.worker.core.job import Held
from beanwatch.worker.core.record import Run, Sink
from beanwatch.worker.core.state import Life

MAX_TRACEBACK = 8192  # characters, the end of it being what matters
FAILURES = frozenset(("buried", "timeout", "poison", "invalid", "discarded"))


class Finisher:
    """Ends runs, from the main thread or, past the hard deadline, from the pulse.

    `intend` is told of each run before its acknowledgement, all `sinks` after it.
    """

    def __init__(
        self,
        session: Session,
        intend: Callable[[Run], object],
        sinks: Sequence[Sink],
        life: Life,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._life = session, life
        self._intend, self._settles = intend, [sink.on_finished for sink in sinks]
        self._monotonic = monotonic

    def end(
        self,
        held: Held,
        verdict: Verdict,
        error: BaseException | None = None,
        *,
        and_reserve: bool = False,
    ) -> Run:
        """Tell everyone how the run ended, beanstalkd in the middle."""
        duration = self._monotonic() - held.began
        lost = ""
        follow_ups: tuple[str, ...] = ()
        which, follow_up = pick_follow_up(held, verdict)
        if follow_up is not None:
            try:
                verdict, follow_ups = self._put(held, verdict, which, follow_up)
            except SessionError as closed:
                lost = str(closed)
        run = Run(
            server=self._session.server_id,
            queue=held.queue,
            job=held.name,
            job_id=held.id,
            attempt=held.facts.reserves,
            outcome=verdict.outcome,
            uuid=held.uuid,
            reason=verdict.reason,
            traceback=render_traceback(error),
            started_at=held.started_at,
            wait=held.wait,
            duration=duration,
            delay=verdict.delay,
            parent=held.envelope.parent or "",
            follow_ups=follow_ups,
        )
        self._intend(run)
        if not lost:
            lost = self._acknowledge(held, verdict, and_reserve=and_reserve)
        if lost:
            reason = f"{lost}; it was: {run.outcome} {run.reason}".rstrip()
            run = replace(run, outcome="lost", reason=reason)
        for settle in self._settles:
            settle(run)
        self._life.processed += 1
        self._life.failed += run.outcome != "ok"
        self._life.busy_seconds += duration
        return run

    def _acknowledge(self, held: Held, verdict: Verdict, *, and_reserve: bool) -> str:
        """Why the acknowledgement was lost, or ""."""
        try:
            word = self._session.acknowledge(encode_end(held, verdict), and_reserve=and_reserve)
        except SessionError as closed:
            return f"no answer to {verdict.action}: {closed}"
        if word == b"NOT_FOUND":
            return "beanstalkd gave the job away: its TTR was over"
        return ""

    def _put(
        self, held: Held, verdict: Verdict, which: str, follow_up: FollowUp
    ) -> tuple[Verdict, tuple[str, ...]]:
        parent = held.uuid or None
        try:
            new_id, body = encode_follow_up(
                follow_up, which, identity=held.identity, parent=parent, now=time.time()
            )
            self._session.put(
                follow_up.queue, body, follow_up.priority, follow_up.delay, follow_up.ttr
            )
        except (RefusedError, EnvelopeError) as refused:
            reason = f"its {which} follow-up was refused: {refused}"
            return Verdict("buried", "bury", f"{verdict.reason}; {reason}".lstrip("; ")), ()
        return verdict, (new_id,)


def pick_follow_up(held: Held, verdict: Verdict) -> tuple[str, FollowUp | None]:
    """Which follow-up this end asks for: none where the job will run again."""
    if verdict.action == "release":
        return "", None
    if verdict.outcome == "ok":
        return "success", held.envelope.success
    return "failure", held.envelope.failure


def encode_end(held: Held, verdict: Verdict) -> bytes:
    """The command that ends a run; the job keeps its priority."""
    if verdict.action == "delete":
        return b"delete %d\r\n" % held.id
    if verdict.action == "bury":
        return b"bury %d %d\r\n" % (held.id, held.facts.priority)
    # beanstalkd counts in whole seconds; down would let jobs that failed together return so.
    return b"release %d %d %d\r\n" % (held.id, held.facts.priority, math.ceil(verdict.delay))


def render_traceback(error: BaseException | None) -> str:
    """The traceback of a handler's error, its end if it is long."""
    if error is None or error.__traceback__ is None:
        return ""
    try:
        lines = traceback.format_exception(error)
    except Exception as wrong:  # what the error carries is the application's, and may be anything
        lines = [*traceback.format_tb(error.__traceback__), f"{describe(error)}\n"]
        lines.append(f"(it cannot be shown as Python does: {describe(wrong)})\n")
    return "".join(lines)[-MAX_TRACEBACK:]
