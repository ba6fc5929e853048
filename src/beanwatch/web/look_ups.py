"""Reads on demand what the snapshot does not have, such as the body of a job.

The results are kept for a few seconds: a hundred viewers of a page cost what one costs.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from beanwatch.net.address import BackgroundCall
from beanwatch.net.redis_url import RedisError
from beanwatch.queues.base import ServerError

MAX_KEPT = 100  # results
MAX_RUNNING = 8  # threads that wait for a server
KEPT = 4.0  # seconds for which a result is shown
DEADLINE = 6.0  # seconds for which a page waits for a result


class Found(NamedTuple):
    """The result of a look-up: a value, or why there is none."""

    value: Any
    error: str = ""


class LookUp(NamedTuple):
    """Something to read. Equal keys have equal results; `read` is called in a thread."""

    key: Hashable
    read: Callable[[], Any]


class LookUps:
    """Runs look-ups, at most MAX_RUNNING at once, and keeps their last results.

    For the event loop's thread only. `report` gets a text for each fault of beanwatch itself.
    """

    def __init__(
        self,
        report: Callable[[str], object] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._clock = report, clock
        self._kept: OrderedDict[Hashable, tuple[float, asyncio.Future[Found]]] = OrderedDict()
        self._running = 0

    async def find(self, wanted: LookUp, deadline: float = DEADLINE) -> Found:
        """Return the result of a look-up, which may be a few seconds old."""
        kept = self._kept.get(wanted.key)
        if kept is None or (kept[1].done() and self._clock() - kept[0] > KEPT):
            if self._running >= MAX_RUNNING:
                return Found(None, f"{MAX_RUNNING} other look-ups still wait for their servers")
            kept = self._clock(), self._start(wanted)
            self._kept[wanted.key] = kept
            self._kept.move_to_end(wanted.key)
            self._forget()
        try:
            return await asyncio.wait_for(asyncio.shield(kept[1]), deadline)
        except TimeoutError:
            return Found(None, f"no answer within {deadline:g} s")

    def _start(self, wanted: LookUp) -> asyncio.Future[Found]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()

        def finish(found: Found) -> None:
            self._running -= 1
            if wanted.key in self._kept and self._kept[wanted.key][1] is future:
                self._kept[wanted.key] = self._clock(), future
            if not future.done():
                future.set_result(found)

        def run() -> None:
            found = self._read(wanted)
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, found)

        self._running += 1
        try:
            BackgroundCall(run, "web-look-up")
        except RuntimeError as error:  # the system allows no more threads
            finish(Found(None, str(error)))
        return future

    def _read(self, wanted: LookUp) -> Found:
        try:
            return Found(wanted.read())
        except (ServerError, RedisError) as error:
            return Found(None, str(error))
        except Exception as error:
            text = f"internal error, please report it: {type(error).__name__}: {error}"
            self._report(text)
            return Found(None, text)

    def _forget(self) -> None:
        """Forget the oldest results, but none that is still being read."""
        for key in list(self._kept):
            if len(self._kept) <= MAX_KEPT:
                return
            if self._kept[key][1].done():
                del self._kept[key]
