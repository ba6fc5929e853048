"""A clock that goes slower while the machine is slow, so that time limits hold on a busy one."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Self

PAUSE = 2.0  # seconds between two measurements


class Pace(contextlib.AbstractContextManager["Pace"]):
    """Measures, again and again, how long `work` takes, compared with the first time.

    While it takes three times as long, the clock goes at a third of the speed.
    """

    def __init__(
        self, work: Callable[[], object], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._work, self._monotonic = work, monotonic
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="pace", daemon=True)
        self._time, self._seen_at = 0.0, monotonic()
        self._usual = self._slowness = 1.0
        self._work_began: float | None = None  # None: no measurement is running

    def clock(self) -> float:
        """Return the seconds since the start. Call it often: each step has one speed."""
        now, began = self._monotonic(), self._work_began
        running = 0.0 if began is None else now - began
        self._time += (now - self._seen_at) / max(self._slowness, running / self._usual)
        self._seen_at = now
        return self._time

    def _measure(self) -> None:
        while not self._stopped.wait(PAUSE):
            self._slowness = max(1.0, self._run_work() / self._usual)

    def _run_work(self) -> float:
        self._work_began = began = self._monotonic()
        self._work()
        self._work_began = None
        return self._monotonic() - began

    def __enter__(self) -> Self:
        self._usual = self._run_work()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.join()
