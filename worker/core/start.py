"""The start of a process: is its id free, and how did the one before end?"""

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

LOOKS = 20  # at the other's beat, over two of its intervals


def begin(
    heart: HeartbeatWriter,
    temporary: TemporaryRoot,
    settings: Settings,
    instance: str,
    app_version: str,
    log: FilteringBoundLogger,
) -> tuple[Heartbeat, BlackBox]:
    """Take the id, and with it the temporary directory: what will not change in the heartbeat.

    Raises WorkerError when the id is in use, or without a temporary directory.
    """
    before = _ask_redis(heart, settings, instance, log)
    try:
        black_box = temporary.open()
        left = temporary.sweep()
    except OSError as error:
        raise WorkerError(
            f"no temporary directory {error.filename}: {error.strerror}; see --tmp-root"
        ) from None
    restarts, last_exit = 0, ""
    if before is not None:
        last_exit = describe_exit(before, left.get(before.instance))
    if before is not None and last_exit:
        restarts = before.restarts + 1
        log.warning("the instance before: {exit}", exit=last_exit)
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


def _ask_redis(
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
    """The record that this instance replaces, None for none. Raises RedisError, WorkerError.

    Another instance is alive if its beat moves on while we look for two of its intervals.
    """
    before, age = heart.read()
    if before is None or before.is_over or age > max(3 * before.interval, DEAD_AFTER):
        return before
    for _ in range(LOOKS):
        sleep(2 * before.interval / LOOKS)
        now, _ = heart.read()
        if now is None:
            return None  # it stopped as it should
        if now.instance != instance and now.beat_at != before.beat_at:
            raise WorkerError(
                f"worker {worker} runs already, on {now.host} with pid {now.pid}: "
                "stop that one, or give this one another --name",
                DUPLICATE,
            )
    return before


def describe_exit(before: Heartbeat, last_job: LastJob | None) -> str:
    """How an instance ended that left its record and perhaps its black box; "" if told to."""
    if before.is_over or before.last_words:
        return before.last_words
    if last_job is not None and last_job.words is not None:
        return last_job.words  # which Redis did not hear
    if last_job is None:
        last_job = LastJob(before.job_id, before.job)
    if last_job.id:
        return f"killed while running {last_job.name} (job {last_job.id})"
    return f"killed while {'idle' if before.state == 'busy' else before.state}"
