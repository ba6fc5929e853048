"""The guard of the job in hand: touches, the hard deadline, the end of patience at a stop."""

import os
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api.errors import JobStopped, JobTimeout
from beanwatch.worker.core.connection import Session
from beanwatch.worker.core.decide import Verdict
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.job import Held
from beanwatch.worker.core.run import Runner
from beanwatch.worker.core.state import HARD, Life
from beanwatch.worker.guard.host import kill_descendants
from beanwatch.worker.guard.job_guards import JobGuards
from beanwatch.worker.guard.stacks import dump_stacks

CLEAN_UP = 2.0  # seconds for a handler to clean up when the worker must stop
LOCK = 0.3  # seconds
LAST_ACT = 30.0  # seconds for all that has to be told before the exit


class Guard:
    """Runs in the pulse thread; ends the process when the main thread does not.

    `last_words` tells everyone outside and closes the sinks before the exit.
    """

    def __init__(
        self,
        session: Session,
        runner: Runner,
        finisher: Finisher,
        life: Life,
        guards: JobGuards,
        last_words: Callable[[str], object],
        log: FilteringBoundLogger,
        *,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._session, self._runner, self._finisher = session, runner, finisher
        self._life, self._alarm, self._watchdog = life, guards.alarm, guards.watchdog
        self._log, self._last_words, self._leave = log, last_words, leave
        self._is_thrown = False

    def tick(self, now: float) -> None:
        """Whatever is due now."""
        held = self._life.job
        self._watchdog.tick(held.hard if held else 0.0)
        if held is not None and now - held.touched >= held.facts.ttr / 3:
            self._touch(held, now)
        if held is not None and held.hard and now >= held.hard:
            self._kill(held, now)
        elif not self._life.run and now >= self._life.patience_ends:
            self._press(held, now)

    def _touch(self, held: Held, now: float) -> None:
        if self._session.touch(LOCK):
            held.touched = now
            self._life.touches += 1
        if not self._session.is_open:
            held.trouble = "beanstalkd is gone: another worker may have been given the job"
        elif self._session.is_gone:
            held.trouble = "beanstalkd gave the job to another worker: its TTR was over"
        elif self._session.unanswered > 1:
            held.trouble = "beanstalkd does not answer"
        else:
            held.trouble = ""

    def _kill(self, held: Held, now: float) -> None:
        late = JobTimeout(f"it did not end within {now - held.began:.0f} s and was killed")
        verdict = self._runner.judge(held, late)
        self._take_over(held, verdict, HARD, f"hard deadline of {held.name} (job {held.id})")

    def _press(self, held: Held | None, now: float) -> None:
        if not self._is_thrown:
            self._is_thrown = True
            self._alarm.throw(JobStopped("the worker had to stop"))
        elif now >= self._life.patience_ends + CLEAN_UP:
            verdict = Verdict("retry", "release", "the worker had to stop")
            self._take_over(held, verdict, self._life.code, "")

    def _take_over(self, held: Held | None, verdict: Verdict, code: int, words: str) -> None:
        """End the run in the main thread's place, and the process."""
        if held is not None and not held.ending.acquire(blocking=False):
            return  # the main thread came back just now
        try:
            self._watchdog.tick(time.monotonic() + LAST_ACT)
            stacks = dump_stacks()
            killed = kill_descendants()
            self._log.critical(
                "the main thread does not end, exit {code}: {reason}",
                code=code,
                reason=verdict.reason,
                child_processes_killed=killed,
                stacks=stacks,
            )
            if held is not None:
                self._finisher.end(held, verdict)
                self._runner.clean_up(held)
            self._last_words(words)
        except Exception as error:
            self._log.critical("the end itself failed", exc_info=error)
        finally:
            self._leave(code)
