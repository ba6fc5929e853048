"""One worker process, from its start to its exit code: the parts, put together."""

import os
import re
import secrets
import threading
import time
from typing import NamedTuple

from beanwatch import __version__
from beanwatch.collectors.address import Address
from beanwatch.collectors.heartbeats import Beat
from beanwatch.collectors.redis_link import RedisError, parse_redis_url
from beanwatch.worker import logs
from beanwatch.worker.app import App
from beanwatch.worker.blackbox import LastJob
from beanwatch.worker.control import MAX_WAIT, Answer, Message
from beanwatch.worker.deadline import Alarm
from beanwatch.worker.decide import describe, with_share
from beanwatch.worker.errors import WorkerError
from beanwatch.worker.finish import Finisher
from beanwatch.worker.guard import Guard
from beanwatch.worker.heartbeat import Heart, claim, describe_exit
from beanwatch.worker.job import Held
from beanwatch.worker.ledger import Ledger, Mode
from beanwatch.worker.life import FATAL, RECYCLED, STOPPED, Life
from beanwatch.worker.listen import Listener
from beanwatch.worker.log_output import LogOutput
from beanwatch.worker.logs import LogSink
from beanwatch.worker.loop import Loop
from beanwatch.worker.metrics import make_metrics
from beanwatch.worker.notify import Notifier
from beanwatch.worker.outcomes import OutcomeCounts
from beanwatch.worker.pulse import Pulse
from beanwatch.worker.record import Sink
from beanwatch.worker.redis_outlet import RedisOutlet
from beanwatch.worker.report import Reporter
from beanwatch.worker.resource import Resources
from beanwatch.worker.run import Limits, Runner
from beanwatch.worker.safety import TemporaryRoot
from beanwatch.worker.session import Session
from beanwatch.worker.signals import handle_signals
from beanwatch.worker.stacks import dump_stacks
from beanwatch.worker.watchdog import Watchdog

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_DUMP = 30_000  # characters; beanstalkd takes 64 KiB a job
FLUSH = 2.0  # seconds for the sinks at the end
LEAVE = 3.0  # seconds for Python to shut down


class Settings(NamedTuple):
    """How one worker runs. Durations in seconds, sizes in bytes, 0 for no limit."""

    name: str
    host: str
    address: Address
    tubes: tuple[str, ...]
    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_password: str = ""
    metrics: str = ""
    prefix: str = "beanwatch"
    reserve_timeout: float = 10.0
    job_timeout: float = 60.0
    grace: float = 10.0
    max_attempts: int = 5
    shutdown_timeout: float = 30.0
    heartbeat_interval: float = 1.0
    max_jobs: int = 0
    max_time: float = 0.0
    max_memory: float = 0.0
    tmp_root: str = ""
    min_free_disk: int = 0
    ledger: Mode = "failures"
    restart_spread: float = 30.0
    is_expected: bool = False

    @property
    def worker(self) -> str:
        """The worker's id."""
        return f"{self.host}.{self.name}"


class Process:
    """The parts of one worker. `app_name` is how the application was given."""

    def __init__(self, app: App, settings: Settings, log_output: LogOutput | None = None) -> None:
        self.settings = settings
        self.instance = secrets.token_hex(8)
        self.log = logs.get_logger(worker=settings.worker, instance=self.instance)
        self.life = Life(settings.shutdown_timeout)
        self.notifier = Notifier()
        self.watchdog = Watchdog()
        redis = parse_redis_url(settings.redis_url, settings.redis_password)
        self.heart = Heart(redis, settings.worker, is_expected=settings.is_expected)
        self.session = Session(settings.address, settings.tubes, settings.reserve_timeout)
        self.temporary = TemporaryRoot(settings.tmp_root, settings.worker, self.instance)
        self.metrics = make_metrics(
            settings.metrics, settings.prefix, settings.worker, log=self.log
        )
        outlet = RedisOutlet(redis, self.log)
        self.sinks: list[Sink] = [
            LogSink(self.log, log_output),
            self.metrics,
            OutcomeCounts(outlet),
            Ledger(outlet, settings.worker, self.instance, settings.ledger),
        ]
        self.alarm = Alarm()
        limits = Limits(settings.job_timeout, settings.grace, settings.max_attempts)
        self.runner = Runner(
            app,
            limits,
            self.session,
            self.alarm,
            Resources(app.resources, self._resource_failed),
            self.temporary,
            self.log,
            on_start=self._job_starts,
            on_end=self._job_ended,
        )
        self.finisher = Finisher(self.session, self.sinks, self.life)
        max_jobs = round(with_share(settings.max_jobs))
        self.loop = Loop(
            self.session,
            self.runner,
            self.finisher,
            self.life,
            self.log,
            max_jobs=max_jobs,
            on_job=self._job_is_here,
        )
        self.app_version = app.version
        self.is_dump_wanted = False

    def run(self) -> int:
        """Work until told to stop; the exit code. Raises WorkerError when it cannot start."""
        before = self._claim()
        self._make_pulse(before, self._open_temporary())
        handle_signals(self.life, self.alarm, self.stop, logs.reopen, self._want_dump)
        self.log.info("the worker starts", tubes=self.settings.tubes, pid=os.getpid())
        self.pulse.start()
        self.notifier.send("READY=1")
        words = ""
        try:
            self.loop.run()
        except Exception as error:
            self.log.critical("the worker failed", exc_info=error)
            words = f"failed: {describe(error)}"
            self.life.stop(words, FATAL)
        self._close(words)
        return self.life.code

    def stop(self, why: str, code: int = STOPPED) -> None:
        """Finish the job in hand and exit; an idle worker at once."""
        self.life.stop(why, code)
        self.session.interrupt()

    def obey(self, message: Message) -> Answer:
        """Do what a control message says. Called in the pulse thread."""
        self.log.info("told to {command}", command=message.command)
        text, beat, dump = "", None, ""
        if message.command == "stop":
            text = self._when_free("stops")
            self.stop("told to stop")
        elif message.command == "restart":
            text = self._when_free("restarts")
            self.stop("told to restart", RECYCLED)
        elif message.command == "wait":
            seconds = message.args.seconds
            text = f"waits for {seconds:g} s" if seconds else "waits until told to resume"
            self.life.wait(seconds or MAX_WAIT)
            self.session.interrupt()
        elif message.command == "resume":
            text = "takes jobs"
            self.life.wait(0)
        elif message.command == "dump":
            dump = dump_stacks()
            self.log.warning("stacks, as an operator asked", stacks=dump)
        if message.command in ("status", "dump"):
            beat = self.reporter.make_beat()._asdict()
        return Answer(
            self.settings.worker,
            self.instance,
            message.command,
            id=message.id,
            text=text,
            beat=beat,
            dump=dump[-MAX_DUMP:],
        )

    def _claim(self) -> Beat | None:
        try:
            self.heart.forget_the_expired()
            return claim(self.heart, self.settings.worker, self.instance)
        except RedisError as error:
            self.log.warning(
                "redis cannot be asked whether this id is free, going on: {reason}",
                reason=str(error),
            )
            return None

    def _open_temporary(self) -> dict[str, LastJob | None]:
        """Make our temporary directory, and remove those that killed instances left."""
        try:
            self.black_box = self.temporary.open()
            return self.temporary.sweep()
        except OSError as error:
            raise WorkerError(
                f"no temporary directory {error.filename}: {error.strerror}; see --tmp-root"
            ) from None

    def _make_pulse(self, before: Beat | None, left: dict[str, LastJob | None]) -> None:
        settings = self.settings
        identity = Beat(
            instance=self.instance,
            host=settings.host,
            pid=os.getpid(),
            name=settings.name,
            server=str(settings.address),
            tubes=settings.tubes,
            app_version=self.app_version,
            started_at=time.time(),
            interval=settings.heartbeat_interval,
            reserve_timeout=settings.reserve_timeout,
            version=__version__,
            restarts=before.restarts + 1 if before else 0,
            last_exit=describe_exit(before, left.get(before.instance)) if before else "",
        )
        if before:
            self.log.warning("the instance before was {exit}", exit=identity.last_exit)
        self.reporter = Reporter(
            identity,
            settings.worker,
            self.life,
            self.session,
            self.heart,
            self.metrics,
            self.sinks,
            self.notifier,
            self.temporary,
            self.log,
            self.stop,
            self.runner.where,
            min_free_disk=settings.min_free_disk,
            max_memory=with_share(settings.max_memory),
            max_time=with_share(settings.max_time),
            restart_spread=settings.restart_spread,
        )
        guard = Guard(
            self.session,
            self.runner,
            self.finisher,
            self.life,
            self.alarm,
            self.watchdog,
            self.log,
            self._last_words,
        )
        listener = Listener(
            self._control_address, settings.worker, self.instance, self.obey, self.log
        )
        self.pulse = Pulse(
            [guard.tick, self._dump_if_wanted, self.reporter.tick],
            listener,
            self.life,
            self.log,
            tick=settings.heartbeat_interval,
        )

    def _close(self, words: str) -> None:
        self.notifier.send("STOPPING=1")
        self.life.lose_patience()  # the pulse ends us if something does not close
        self.runner.close()
        self.pulse.end(FLUSH)
        self.watchdog.disarm()
        self.temporary.close()
        self.log.info(
            "the worker ends: {reason}",
            reason=self.life.why,
            exit_code=self.life.code,
            processed=self.life.processed,
            failed=self.life.failed,
        )
        self._last_words(words)
        # Python waits for threads that a handler left behind; we do not.
        leave = threading.Timer(LEAVE, os._exit, (self.life.code,))
        leave.daemon = True
        leave.start()

    def _last_words(self, words: str) -> None:
        for sink in self.sinks:
            sink.close(FLUSH)
        self.reporter.last_words(words)

    def _job_is_here(self, held: Held) -> None:
        self.pulse.hurry(held.facts.ttr / 3)

    def _job_starts(self, held: Held) -> None:
        self.black_box.write(held.id, held.name)
        self.watchdog.cover(held.hard)

    def _job_ended(self) -> None:
        self.black_box.clear()

    def _resource_failed(self, name: str, error: BaseException) -> None:
        self.log.warning("resource {resource} failed to close", resource=name, exc_info=error)

    def _control_address(self) -> Address | None:
        """Where the main connection went, so that the pulse looks no name up."""
        peer = self.session.peer
        if isinstance(peer, tuple):
            return Address(peer[0], peer[1])
        return self.settings.address if peer is not None else None

    def _when_free(self, does: str) -> str:
        held = self.life.job
        return f"{does} after {held.name} (job {held.id})" if held else does

    def _want_dump(self) -> None:
        self.is_dump_wanted = True
        self.pulse.wake.set()

    def _dump_if_wanted(self, _now: float) -> None:
        if self.is_dump_wanted:
            self.is_dump_wanted = False
            self.log.warning("stacks, as SIGUSR1 asked", stacks=dump_stacks())
