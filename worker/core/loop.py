"""The main thread: connect, reserve, run, acknowledge, until told to stop."""

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.core.connection import Reserved, Session, SessionError
from beanwatch.worker.core.decide import decide_reconnect
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.job import Held
from beanwatch.worker.core.run import Runner
from beanwatch.worker.core.state import RECYCLED, Life
from beanwatch.worker.guard.pulse import Pulse

CLEAN_UP = 60.0  # seconds for what a job left on the disk
LOOK_EVERY = 1.0  # seconds, at what handlers did to the process


class Loop:
    """Takes jobs one by one. Ends when `life.run` is False and no job is held."""

    def __init__(
        self,
        session: Session,
        runner: Runner,
        finisher: Finisher,
        life: Life,
        pulse: Pulse,
        keep_signals: Callable[[], None],
        log: FilteringBoundLogger,
        *,
        max_jobs: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._runner, self._finisher = session, runner, finisher
        self._life, self._pulse, self._log = life, pulse, log
        self._max_jobs = max_jobs
        self._keep_signals, self._monotonic = keep_signals, monotonic
        self._next_look = 0.0
        self._failures = 0  # of the connection, in a row

    def run(self) -> None:
        """Work until told to stop."""
        life, session = self._life, self._session
        try:
            while life.run or session.is_promised:
                life.loop_at = now = self._monotonic()
                if now >= self._next_look:
                    self._next_look = now + LOOK_EVERY
                    self._keep_signals()
                if session.is_promised or (session.is_open and life.wants_jobs()):
                    self._take_one()
                elif life.wants_jobs():
                    self._connect()
                else:
                    session.close()  # else one more job would be taken
                    life.sleep(1.0)
        finally:
            session.close()

    def _connect(self) -> None:
        try:
            self._session.open()
            self._life.is_ready = True
        except SessionError as error:
            self._back_off(str(error))

    def _back_off(self, reason: str) -> None:
        """Say once that the server is gone, and wait: longer each time, so that nothing spins."""
        if not self._life.cut_off:
            self._log.warning("cut off from beanstalkd: {reason}", reason=reason)
        self._life.cut_off = reason
        self._failures += 1
        self._life.sleep(decide_reconnect(self._failures))

    def _lose(self, error: SessionError) -> None:
        if self._life.wants_jobs():  # else we may have ended it ourselves
            self._life.reconnects += 1
            self._back_off(str(error))

    def _take_one(self) -> None:
        try:
            reserved = self._session.reserve(self._life.wants_jobs)
        except SessionError as error:
            self._lose(error)
            return
        # An answer to a reserve, not the connect, shows that the server works.
        self._failures = 0
        if self._life.cut_off:
            self._log.info("back with beanstalkd at {address}", address=str(self._session.address))
            self._life.cut_off = ""
        if reserved is not None:
            self._work_on(reserved)

    def _work_on(self, reserved: Reserved) -> None:
        life = self._life
        try:
            held = Held(reserved, self._session.facts(reserved.id))
        except SessionError as error:
            self._lose(error)
            return
        life.job = held
        self._pulse.hurry(held.facts.ttr / 3)
        # A stop that came while it was on its way finds it in hand, as one that comes now would.
        verdict, raised = self._runner.run(held, no_room=life.disk_full)
        if not held.ending.acquire(blocking=False):
            while True:  # the pulse ends this run, and the process with it
                time.sleep(60)
        held.hard = self._monotonic() + CLEAN_UP  # a disk that hangs must not hang us for good
        self._runner.clean_up(held)
        held.hard = 0.0
        if self._max_jobs and life.processed + 1 >= self._max_jobs:
            life.stop(f"{life.processed + 1} jobs done, as many as it may", RECYCLED)
        self._finisher.end(held, verdict, raised, and_reserve=life.wants_jobs())
        self._runner.let_go()
        life.job = None
