"""Checks at the start that the worker's id is free, and how the previous instance ended."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import RedisError
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.store.health import LOOP_MARGIN
from beanwatch.store.heartbeats import NO_HEARTBEAT, Heartbeat
from beanwatch.worker.api.errors import WorkerError
from beanwatch.worker.control.messages import COMMANDS
from beanwatch.worker.core.finish import mark_lost
from beanwatch.worker.core.settings import Settings
from beanwatch.worker.core.state import DUPLICATE
from beanwatch.worker.guard.black_box import BlackBox, BlackBoxRecord
from beanwatch.worker.guard.temporary import TemporaryRoot
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import HeartbeatWriter
from beanwatch.worker.monitor.heartbeat.previous import (
    IdInUseError,
    describe_end,
    find_previous,
    identify,
    inherit,
)
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.telemetry.run_starts import RunStarts

CRASH = "Fatal Python error: "  # so begins what faulthandler writes when the process crashes
MAX_START_DELAY = 30.0  # seconds
START_TIME = 60.0  # seconds that systemd's unit allows for a start
UNCOUNTED_STARTS = 2  # taken as the failed starts in a row while no Redis counts them


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
        if box is not None and box.run is not None and isinstance(box.run.job_id, int):
            starts.try_to_record(box.run.server, box.run.job_id, box.run.attempt)
    now = time.time()
    inherited = NO_HEARTBEAT
    if previous is None and leftovers:  # Redis is away, or has lost the record
        previous = NO_HEARTBEAT._replace(instance=next(iter(leftovers)), state="")
    if previous is not None:
        box = leftovers.get(previous.instance)
        crash = describe_exit(previous, box)
        if crash:
            stacks = {"stacks": box.stacks} if box and box.stacks else {}
            log.warning("the previous instance ended unexpectedly: {exit}", exit=crash, **stacks)
        inherited = inherit(previous, crash, now)
    beat = describe_process(inherited, settings, instance, now)._replace(
        app_version=app_version, black_box=str(temporary.black_box_path)
    )
    killed = [
        (ended, judge_killed(box.run, box.stacks))
        for ended, box in leftovers.items()
        if box and box.run
    ]
    return Start(beat, black_box, killed)


def describe_process(
    inherited: Heartbeat, settings: Settings, instance: str, now: float
) -> Heartbeat:
    """Return a record with the fields that never change. `now` is in seconds since the epoch."""
    return identify(inherited, settings.host, settings.name, instance, now)._replace(
        kind="beanwatch",
        server=str(settings.address),
        queues=settings.queues,
        commands=COMMANDS,
        commands_by="beanstalkd",
        interval=settings.options.heartbeat_interval,
        max_idle=settings.options.reserve_timeout + LOOP_MARGIN,
        shutdown_timeout=settings.options.shutdown_timeout,
    )


def report_failed_start(
    writer: HeartbeatWriter,
    settings: Settings,
    instance: str,
    reason: str,
    log: FilteringBoundLogger,
) -> int:
    """Write into Redis why this worker cannot start, for the alert and for the next instance.

    Returns how many starts have failed in a row; UNCOUNTED_STARTS if Redis cannot be used. Raises
    WorkerError if another instance uses the id: its record must stay.
    """
    previous = _try_to_find_previous(writer, settings, instance, log)
    now = time.time()
    inherited, failed = NO_HEARTBEAT, 0
    if previous is not None:
        failed = previous.failed_starts
        inherited = inherit(previous, "" if failed else describe_exit(previous, None), now)
    record = describe_process(inherited, settings, instance, now)._replace(
        beat_at=now, loop_at=now, last_words=reason, failed_starts=failed + 1
    )
    try:
        writer.write(record)
    except RedisError as error:
        log.warning("cannot write the failed start to Redis: {reason}", reason=str(error))
        return UNCOUNTED_STARTS
    return record.failed_starts


def decide_start_delay(failed_starts: int) -> float:
    """Return the seconds to wait before the exit after so many failed starts in a row.

    The first exits at once. The limit is below the 60 s that systemd's unit allows for a start.
    """
    return 0.0 if failed_starts < 2 else min(MAX_START_DELAY, 2.0 ** (failed_starts - 1))


def _try_to_find_previous(
    writer: HeartbeatWriter, settings: Settings, instance: str, log: FilteringBoundLogger
) -> Heartbeat | None:
    try:
        if removed := writer.forget_expired():
            log.warning(
                "Redis had too many worker ids, {removed} of the oldest were removed",
                removed=removed,
            )
        # `find_previous` waits for the next heartbeat of another instance.
        wait = 2 * settings.options.heartbeat_interval + START_TIME
        SystemdNotifier().send(f"EXTEND_TIMEOUT_USEC={wait * 1e6:.0f}")
        try:
            previous = find_previous(writer, settings.worker, instance)
        except IdInUseError as error:
            raise WorkerError(str(error), DUPLICATE) from None
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


def describe_exit(previous: Heartbeat, black_box: BlackBoxRecord | None) -> str:
    """Return a text that says how the previous instance ended; "" if it stopped on request.

    Uses its last heartbeat and, if Redis did not get the exit reason, its black box.
    """
    if previous.is_over or previous.last_words:
        return previous.last_words
    if black_box is not None and black_box.exit_reason is not None:
        return black_box.exit_reason  # not in the heartbeat: Redis could not be reached
    cause = describe_stacks(black_box.stacks if black_box else "") or "killed"
    if black_box is None:
        return describe_end(previous, cause)
    run = black_box.run
    return describe_end(previous, cause, f"{run.job} (job {run.job_id})" if run else "")


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

    `stacks` are those of the black box. If the handler was running, beanstalkd has given the job
    back, as the connection ended with the process. If the job was about to be acknowledged, nobody
    knows which of the two beanstalkd has done.
    """
    if run.outcome:
        return mark_lost(run, "its worker ended before beanstalkd confirmed the end of the job")
    is_watchdog = bool(stacks) and not stacks.startswith(CRASH)
    cause = describe_stacks(stacks) or "killed"
    return replace(
        run,
        outcome="timeout" if is_watchdog else "retry",
        reason=f"its worker was {cause} while it ran; beanstalkd gives the job to another worker",
        traceback=stacks,
    )
