"""What the worker tells the world of itself: the heartbeat, its own series, systemd."""

import time
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import RedisError
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import Heartbeat, Worker
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.record import Sink
from beanwatch.worker.core.state import DUPLICATE, RECYCLED, STOPPED, WorkerState, random_delay
from beanwatch.worker.guard.host import TemporaryRoot, read_rss
from beanwatch.worker.guard.stacks import read_main_cpu
from beanwatch.worker.telemetry.heartbeat_writer import HeartbeatWriter, PreviousHeartbeat
from beanwatch.worker.telemetry.metrics import Metrics

GAUGES = 10.0  # seconds, as often as StatsD flushes


class Reporter:
    """Runs in the pulse thread. `identity` is the part of the record that does not change."""

    def __init__(
        self,
        identity: Heartbeat,
        worker: str,
        life: WorkerState,
        session: WorkerConnection,
        heart: HeartbeatWriter,
        metrics: Metrics,
        sinks: Sequence[Sink],
        notifier: SystemdNotifier,
        temporary: TemporaryRoot,
        where: Callable[[], str],
        log: FilteringBoundLogger,
        *,
        min_free_disk: int = 0,
        max_memory: float = 0.0,
        max_time: float = 0.0,
        restart_spread: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity, self._worker = identity, worker
        self._life, self._session, self._heart = life, session, heart
        self._metrics, self._sinks, self._notifier = metrics, sinks, notifier
        self._temporary, self._where, self._log = temporary, where, log
        self._min_free_disk, self._max_memory = min_free_disk, max_memory
        self._ends = clock() + max_time if max_time else 0.0
        self._spread = restart_spread
        self._clock = clock
        self._next_beat = self._next_gauges = 0.0
        self._rss = self._disk_free = 0
        self._busy_before = (clock(), 0.0)
        self._counted = (0, 0)
        self._is_redis_down = False
        self._missed = 0
        self._other: Heartbeat | None = None  # the last beat of another instance under our id
        self._version: bytes | None = None
        self._is_version_known = False
        self._restart_at = 0.0

    def begin(self) -> None:
        """Before the pulse and the first job: look around, and be known."""
        self.look_around()
        self._beat(self.make_beat())

    def tick(self, now: float) -> None:
        """Whatever is due now."""
        if now < self._next_beat:
            return
        self._next_beat = now + self._identity.interval - 0.01
        self.look_around()
        beat = self.make_beat()
        self._notify(beat)
        self._beat(beat)
        for sink in self._sinks:
            sink.tick()
        if now >= self._next_gauges:
            self._next_gauges = now + GAUGES - 0.01
            self._measure(now)
        if self._ends and now >= self._ends and not self._life.is_waiting:
            self._stop("its time is over", RECYCLED)
        if self._restart_at and now >= self._restart_at:
            self._stop("beanwatch:version was raised", RECYCLED)

    def make_beat(self, last_words: str = "") -> Heartbeat:
        """The record as of now."""
        life = self._life
        held = life.job
        state, reason = life.state(held)
        # All of a record's times are as of one moment: the wall clock may jump in between.
        now = time.time()
        ahead = now - self._clock()
        beat = self._identity._replace(
            state=state,
            reason=reason,
            loop_at=ahead + life.loop_at,
            beat_at=now,
            processed=life.processed,
            failed=life.failed,
            errors=life.errors,
            rss=self._rss,
            disk_free=self._disk_free,
            last_words=last_words,
        )
        if held is None:
            return beat
        cpu = read_main_cpu()
        if held.cpu_before is None:
            held.cpu_before = cpu
        return beat._replace(
            job=held.name,
            job_id=held.id,
            job_uuid=held.uuid,
            queue=held.queue,
            where=self._where(),
            note=held.note,
            progress=held.progress,
            job_started_at=ahead + held.began,
            job_cpu=round(cpu - held.cpu_before, 3),
            deadline=ahead + held.hard_deadline - held.grace if held.hard_deadline else 0.0,
            hard_deadline=ahead + held.hard_deadline if held.hard_deadline else 0.0,
        )

    def last_words(self, words: str) -> bool:
        """Tell Redis how this process ends. False if Redis did not hear it.

        The record stays with these words. Without any, it ends as it was told to: the record is
        removed, or, of a worker that is expected, says so until the next instance writes its own.
        """
        stays = words or (self._heart.is_expected and self._life.exit_code in (STOPPED, RECYCLED))
        try:
            if stays and self._heart.is_mine(self._identity.instance):
                self._heart.write(self.make_beat(words)._replace(is_over=not words))
            else:
                self._heart.remove(self._identity.instance)
        except RedisError as error:
            self._log.warning("redis does not hear the last words: {reason}", reason=str(error))
            return False
        return True

    def _stop(self, why: str, code: int) -> None:
        if self._life.is_running:
            self._life.stop(why, code)
            self._session.interrupt()

    def look_around(self) -> None:
        """Measure memory and disk, and act on what is too much or too little."""
        self._rss = read_rss()
        if self._max_memory and self._rss > self._max_memory and not self._life.is_waiting:
            self._stop(f"it uses {self._rss >> 20} MiB of memory", RECYCLED)
        try:
            self._disk_free = self._temporary.free()
        except OSError as error:
            self._life.disk_full = f"no temporary directory: {error.strerror}"
            return
        full = self._disk_free < self._min_free_disk
        reason = f"{self._disk_free >> 20} MiB of disk are free, under {self._min_free_disk >> 20}"
        if full and not self._life.disk_full:
            self._log.warning("no jobs are taken: {reason}", reason=reason)
            self._life.disk_full = reason
            self._session.interrupt()
        elif not full and self._life.disk_full:
            self._log.info("jobs are taken again: the disk has room")
            self._life.disk_full = ""
            self._life.wake.set()

    def _beat(self, beat: Heartbeat) -> None:
        try:
            seen = self._heart.write(beat)
        except RedisError as error:
            self._missed += 1
            if not self._is_redis_down:
                self._is_redis_down = True
                self._log.warning("redis is gone, jobs go on: {reason}", reason=str(error))
            return
        if self._is_redis_down:
            self._log.info("redis is back after {missed} lost heartbeats", missed=self._missed)
            self._is_redis_down, self._missed = False, 0
        self._watch_for_others(seen)
        self._watch_version(seen.version)

    def _watch_for_others(self, seen: PreviousHeartbeat) -> None:
        """Two that started at the same moment see each other here; the younger one goes."""
        other = seen.record
        if other is None or other.is_over or other.instance == self._identity.instance:
            return
        before, self._other = self._other, other
        # It may be our predecessor's, also from a Redis that has forgotten: who lives moves on.
        lives = before and other.instance == before.instance and other.beat_at > before.beat_at
        mine = (self._identity.started_at, self._identity.instance)
        if lives and mine > (other.started_at, other.instance):
            self._stop(f"the same id runs on {other.host}, pid {other.pid}", DUPLICATE)

    def _watch_version(self, version: bytes | None) -> None:
        """A raised version restarts every worker, each at a moment of its own."""
        if not self._is_version_known:
            self._version, self._is_version_known = version, True
        elif version is not None and version != self._version:
            self._version = version
            self._restart_at = self._clock() + random_delay(self._spread)

    def _measure(self, now: float) -> None:
        life = self._life
        held = life.job
        busy = life.busy_seconds + (now - held.began if held else 0.0)
        since, before = self._busy_before
        self._busy_before = now, busy
        if now > since:
            self._metrics.gauge("busy", min(1.0, max(0.0, (busy - before) / (now - since))))
        self._metrics.gauge("rss", self._rss)
        reconnects, touches = self._counted
        self._counted = life.reconnects, life.touches
        self._metrics.count("reconnects", life.reconnects - reconnects)
        self._metrics.count("touches", life.touches - touches)

    def _notify(self, beat: Heartbeat) -> None:
        what = f"{beat.job} (job {beat.job_id})" if beat.job_id else beat.reason
        self._notifier.status(f"{beat.state}: {what}" if what else beat.state)
        if decide_health(Worker(self._worker, 0.0, beat)) != "hung":
            self._notifier.send("WATCHDOG=1")
