"""Checks at the start that the worker's id is free, and how the previous instance ended."""

import os
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch import __version__
from beanwatch.net.redis_url import RedisError
from beanwatch.store.health import DEAD_AFTER
from beanwatch.store.heartbeats import Heartbeat
from beanwatch.worker.api.errors import WorkerError
from beanwatch.worker.core.settings import Settings
from beanwatch.worker.core.state import DUPLICATE
from beanwatch.worker.guard.black_box import BlackBox, BlackBoxRecord
from beanwatch.worker.guard.host import TemporaryRoot
from beanwatch.worker.telemetry.heartbeat_writer import HeartbeatWriter

LIVENESS_READS = 20  # reads of the other instance's heartbeat, within two intervals


def prepare_start(
    writer: HeartbeatWriter,
    temporary: TemporaryRoot,
    settings: Settings,
    instance: str,
    app_version: str,
    log: FilteringBoundLogger,
) -> tuple[Heartbeat, BlackBox]:
    """Check that the worker's id is free, and make the temporary directory.

    Returns the heartbeat with the fields that never change, and the black box. Raises WorkerError
    if another instance uses the id, or if the temporary directory cannot be used.
    """
    previous = _try_to_find_previous(writer, settings, instance, log)
    try:
        black_box = temporary.open()
        leftovers = temporary.sweep()
    except OSError as error:
        raise WorkerError(
            f"cannot use the temporary directory {error.filename}: {error.strerror}; see --tmp-root"
        ) from None
    restarts, last_exit = 0, ""
    if previous is not None:
        last_exit = describe_exit(previous, leftovers.get(previous.instance))
        if last_exit:
            restarts = previous.restarts + 1
            log.warning("the previous instance ended unexpectedly: {exit}", exit=last_exit)
    beat = Heartbeat(
        instance=instance,
        host=settings.host,
        pid=os.getpid(),
        name=settings.name,
        server=str(settings.address),
        queues=settings.queues,
        app_version=app_version,
        started_at=time.time(),
        interval=settings.options.heartbeat_interval,
        reserve_timeout=settings.options.reserve_timeout,
        version=__version__,
        restarts=restarts,
        last_exit=last_exit,
    )
    return beat, black_box


def _try_to_find_previous(
    writer: HeartbeatWriter, settings: Settings, instance: str, log: FilteringBoundLogger
) -> Heartbeat | None:
    try:
        if removed := writer.forget_expired():
            log.warning(
                "Redis had too many worker ids, {removed} of the oldest were removed",
                removed=removed,
            )
        return find_previous(writer, settings.worker, instance)
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
    if previous is None or previous.is_over or age > max(3 * previous.interval, DEAD_AFTER):
        return previous
    for _ in range(LIVENESS_READS):
        sleep(2 * previous.interval / LIVENESS_READS)
        now, _ = writer.read()
        if now is None:
            return None  # the other instance stopped on request, and removed its heartbeat
        if now.instance != instance and now.beat_at != previous.beat_at:
            raise WorkerError(
                f"worker {worker} runs already, on {now.host} with pid {now.pid}: "
                "stop it, or start this worker with another --name",
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
    if black_box is None:
        black_box = BlackBoxRecord(previous.job_id, previous.job)
    if black_box.job_id:
        return f"killed while running {black_box.job_name} (job {black_box.job_id})"
    return f"killed while {'idle' if previous.state == 'busy' else previous.state}"
