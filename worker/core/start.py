"""The start of a process: check that its id is free, and find out how the last instance ended."""

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
from beanwatch.worker.guard.black_box import BlackBox, LastJob
from beanwatch.worker.guard.host import TemporaryRoot
from beanwatch.worker.telemetry.heartbeat_writer import HeartbeatWriter

CLAIM_READS = 20  # of the other instance's record, over two of its intervals


def begin(
    heart: HeartbeatWriter,
    temporary: TemporaryRoot,
    settings: Settings,
    instance: str,
    app_version: str,
    log: FilteringBoundLogger,
) -> tuple[Heartbeat, BlackBox]:
    """Claim the id and make the temporary directory.

    Returns the part of the heartbeat record that does not change, and the black box. Raises
    WorkerError if another worker uses the id, or if the directory cannot be made.
    """
    previous = _claim_or_go_on(heart, settings, instance, log)
    try:
        black_box = temporary.open()
        leftovers = temporary.sweep()
    except OSError as error:
        raise WorkerError(
            f"no temporary directory {error.filename}: {error.strerror}; see --tmp-root"
        ) from None
    restarts, last_exit = 0, ""
    if previous is not None:
        last_exit = describe_exit(previous, leftovers.get(previous.instance))
        if last_exit:
            restarts = previous.restarts + 1
            log.warning("the previous instance ended: {exit}", exit=last_exit)
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


def _claim_or_go_on(
    heart: HeartbeatWriter, settings: Settings, instance: str, log: FilteringBoundLogger
) -> Heartbeat | None:
    try:
        heart.forget_expired()
        return claim(heart, settings.worker, instance)
    except RedisError as error:
        log.warning(
            "redis cannot be asked whether this id is free, going on: {reason}", reason=str(error)
        )
        return None


def claim(
    heart: HeartbeatWriter,
    worker: str,
    instance: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Heartbeat | None:
    """The record that this instance replaces, or None. Raises RedisError, WorkerError.

    Another instance is alive if its `beat_at` advances within two of its intervals.
    """
    previous, age = heart.read()
    if previous is None or previous.is_over or age > max(3 * previous.interval, DEAD_AFTER):
        return previous
    for _ in range(CLAIM_READS):
        sleep(2 * previous.interval / CLAIM_READS)
        now, _ = heart.read()
        if now is None:
            return None  # it was told to stop, and removed its record
        if now.instance != instance and now.beat_at != previous.beat_at:
            raise WorkerError(
                f"worker {worker} runs already, on {now.host} with pid {now.pid}: "
                "stop that one, or give this one another --name",
                DUPLICATE,
            )
    return previous


def describe_exit(previous: Heartbeat, last_job: LastJob | None) -> str:
    """Say how the previous instance ended, by its record and black box; "" if told to."""
    if previous.is_over or previous.last_words:
        return previous.last_words
    if last_job is not None and last_job.words is not None:
        return last_job.words  # written while Redis could not be reached
    if last_job is None:
        last_job = LastJob(previous.job_id, previous.job)
    if last_job.id:
        return f"killed while running {last_job.name} (job {last_job.id})"
    return f"killed while {'idle' if previous.state == 'busy' else previous.state}"
