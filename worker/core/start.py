"""Checks at the start that the worker's id is free, and how the previous instance ended."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from beanwatch import __version__
from beanwatch.net.redis_url import RedisError
from beanwatch.store.health import DEAD_AFTER
from beanwatch.store.heartbeats import Heartbeat
from beanwatch.worker.api.errors import WorkerError
from beanwatch.worker.core.record import Run
from beanwatch.worker.core.settings import Settings
from beanwatch.worker.core.state import DUPLICATE
from beanwatch.worker.guard.black_box import BlackBox, BlackBoxRecord
from beanwatch.worker.guard.temporary import TemporaryRoot
from beanwatch.worker.telemetry.heartbeat_reporter import describe_rival
from beanwatch.worker.telemetry.heartbeat_writer import HeartbeatWriter
from beanwatch.worker.telemetry.run_starts import RunStarts

CRASH = "Fatal Python error: "  # so begins what faulthandler writes when the process crashes
CRASH_KEPT = 3600.0  # seconds for which instances hand on a crash; the check tells it for less
MAX_START_DELAY = 30.0  # seconds
LIVENESS_READS = 20  # reads of the other instance's heartbeat, within two intervals


class Start(NamedTuple):
    """Holds what a new instance begins with: the constant fields of its heartbeat, and so on.

    `killed_runs` are the runs during which earlier instances ended, each with that instance.
    """

    identity: Heartbeat
    black_box: BlackBox
    killed_runs: Sequence[tuple[str, Run]]


def prepare_start(
    writer: HeartbeatWriter,
    starts: RunStarts,
    temporary: TemporaryRoot,
    settings: Settings,
    instance: str,
    app_version: str,
    log: FilteringBoundLogger,
) -> Start:
    """Check that the worker's id is free, and make the temporary directory.

    Raises WorkerError if another instance uses the id, or if the temporary directory cannot be
    used.
    """
    previous = _try_to_find_previous(writer, settings, instance, log)
    try:
        black_box = temporary.open()
        leftovers = temporary.sweep()
    except OSError as error:
        raise WorkerError(
            f"cannot use the temporary directory {error.filename}: {error.strerror}; see --tmp-root"
        ) from None
    for box in leftovers.values():
        # A killed worker could not record its run itself.
        if box is not None and box.run is not None:
            starts.try_to_record(box.run.server, box.run.job_id, box.run.attempt)
    now = time.time()
    inherited = Heartbeat()
    if previous is None and leftovers:  # Redis is away, or has lost the record
        previous = Heartbeat(instance=next(iter(leftovers)), state="")
    if previous is not None:
        box = leftovers.get(previous.instance)
        crash = describe_exit(previous, box)
        if crash:
            stacks = {"stacks": box.stacks} if box and box.stacks else {}
            log.warning("the previous instance ended unexpectedly: {exit}", exit=crash, **stacks)
        inherited = inherit(previous, crash, now)
    beat = identify(inherited, settings, instance, now)._replace(
        app_version=app_version, black_box=str(temporary.black_box_path)
    )
    killed = [
        (ended, judge_killed(box.run, box.stacks))
        for ended, box in leftovers.items()
        if box and box.run
    ]
    return Start(beat, black_box, killed)


def identify(inherited: Heartbeat, settings: Settings, instance: str, now: float) -> Heartbeat:
    """Return a record with the fields that never change. `now` is in seconds since the epoch."""
    return inherited._replace(
        instance=instance,
        host=settings.host,
        hostname=socket.gethostname(),
        pid=os.getpid(),
        name=settings.name,
        server=str(settings.address),
        queues=settings.queues,
        started_at=now,
        interval=settings.options.heartbeat_interval,
        reserve_timeout=settings.options.reserve_timeout,
        shutdown_timeout=settings.options.shutdown_timeout,
        version=__version__,
    )


def report_failed_start(
    writer: HeartbeatWriter,
    settings: Settings,
    instance: str,
    reason: str,
    log: FilteringBoundLogger,
) -> int:
    """Write into Redis why this worker cannot start, for the alert and for the next instance.

    Returns how many starts have failed in a row; 0 if Redis cannot be used. Raises WorkerError if
    another instance uses the id: its record must stay.
    """
    previous = _try_to_find_previous(writer, settings, instance, log)
    now = time.time()
    inherited, failed = Heartbeat(), 0
    if previous is not None:
        failed = previous.failed_starts
        inherited = inherit(previous, "" if failed else describe_exit(previous, None), now)
    record = identify(inherited, settings, instance, now)._replace(
        beat_at=now, loop_at=now, last_words=reason, failed_starts=failed + 1
    )
    try:
        writer.write(record)
    except RedisError as error:
        log.warning("cannot write the failed start to Redis: {reason}", reason=str(error))
        return 0
    return record.failed_starts


def decide_start_delay(failed_starts: int) -> float:
    """Return the seconds to wait before the exit after so many failed starts in a row.

    The first exits at once. The limit is below the 60 s that systemd's unit allows for a start.
    """
    return 0.0 if failed_starts < 2 else min(MAX_START_DELAY, 2.0 ** (failed_starts - 1))


def inherit(previous: Heartbeat, crash: str, now: float) -> Heartbeat:
    """Return a record with only the fields that a new instance takes over from the previous one.

    `crash` says how the previous instance ended; "" if it stopped on request. A stop on request
    does not hide an earlier crash: that is told until CRASH_KEPT seconds have passed. `now` is in
    seconds since the epoch.
    """
    if previous.failed_starts and previous.last_exit:
        crash = ""  # tell the crash from before the failed starts
    kept = Heartbeat(
        recycles=previous.recycles,
        recycled_at=previous.recycled_at,
        recycled_why=previous.recycled_why,
        totals=previous.totals,
        totals_of="" if previous.totals is None else previous.totals_of or previous.instance,
    )
    if crash:
        return kept._replace(restarts=previous.restarts + 1, last_exit=crash, crashed_at=now)
    crashed_at = previous.crashed_at or previous.started_at
    if not previous.last_exit or now - crashed_at > CRASH_KEPT:
        return kept
    return kept._replace(
        restarts=previous.restarts, last_exit=previous.last_exit, crashed_at=crashed_at
    )


def _try_to_find_previous(
    writer: HeartbeatWriter, settings: Settings, instance: str, log: FilteringBoundLogger
) -> Heartbeat | None:
    try:
        if removed := writer.forget_expired():
            log.warning(
                "Redis had too many worker ids, {removed} of the oldest were removed",
                removed=removed,
            )
        previous = find_previous(writer, settings.worker, instance)
        if writer.problem:
            log.warning(
                "the last record of this id cannot be read, so it is not known how the previous "
                "instance ended: {reason}",
                reason=writer.problem,
            )
        return previous
    except RedisError as error:
        log.warning(
            "could not check in Redis whether this id is in use, the worker continues: {reason}",
            reason=str(error),
        )
        return None


def find_previous(
    writer: HeartbeatWriter,
    worker: str,
    instance: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Heartbeat | None:
    """Return the last heartbeat of the previous instance with this id; None if there is none.

    Raises WorkerError if that instance is alive: its `beat_at` advances within two of its heartbeat
    intervals. Raises RedisError.
    """
    previous, age = writer.read()
    if previous is None or previous.is_over or previous.failed_starts:
        return previous
    if age > max(3 * previous.interval, DEAD_AFTER):
        return previous
    for _ in range(LIVENESS_READS):
        sleep(2 * previous.interval / LIVENESS_READS)
        now, _ = writer.read()
        if now is None:
            return None  # the other instance stopped on request, and removed its heartbeat
        if now.instance != instance and now.beat_at != previous.beat_at:
            raise WorkerError(
                f"worker {worker} runs already, on {describe_rival(now, socket.gethostname())}",
                DUPLICATE,
            )
    return previous


def describe_exit(previous: Heartbeat, black_box: BlackBoxRecord | None) -> str:
    """Return a text that says how the previous instance ended; "" if it stopped on request.

    Uses its last heartbeat and, if Redis did not get the exit reason, its black box.
    """
    if previous.is_over or previous.last_words:
        return previous.last_words
    if black_box is not None and black_box.exit_reason is not None:
        return black_box.exit_reason  # not in the heartbeat: Redis could not be reached
    cause = describe_stacks(black_box.stacks if black_box else "") or "killed"
    job, job_id = previous.job, previous.job_id
    if black_box is not None:
        job, job_id = (black_box.run.job, black_box.run.job_id) if black_box.run else ("", 0)
    if job_id:
        return f"{cause} while running {job} (job {job_id})"
    state = "idle" if previous.state == "busy" else previous.state
    return f"{cause} while {state}" if state else cause


def describe_stacks(stacks: str) -> str:
    """Return how a process ended, from the stacks that C code wrote then; "" without stacks."""
    first = stacks.partition("\n")[0]
    if not first:
        return ""
    if first.startswith(CRASH):
        return f"ended by a crash ({first.removeprefix(CRASH)})"
    return (
        "ended by its watchdog (the pulse thread did not run: C code held the interpreter lock, "
        "or the process was frozen)"
    )


def judge_killed(run: Run, stacks: str) -> Run:
    """Return the run during which a process ended, with an outcome and the reason.

    beanstalkd has given the job back: the connection ended with the process. `stacks` are those of
    the black box.
    """
    is_watchdog = bool(stacks) and not stacks.startswith(CRASH)
    cause = describe_stacks(stacks) or "killed"
    return replace(
        run,
        outcome="timeout" if is_watchdog else "retry",
        reason=f"its worker was {cause} while it ran; beanstalkd gives the job to another worker",
        traceback=stacks,
    )
