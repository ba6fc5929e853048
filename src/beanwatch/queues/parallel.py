"""Makes many slow calls in a few threads within a time limit, for servers asked queue by queue."""

import time
from collections import deque
from collections.abc import Callable, Sequence

from beanwatch.light_typing import TypeVar
from beanwatch.net.address import BackgroundCall
from beanwatch.queues.base import ServerError

THREADS = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


class Parallel:
    """Makes calls in up to THREADS threads, which do not keep the process alive.

    A call that never returns keeps its thread. While THREADS calls hang, no other one is started.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hanging: list[BackgroundCall[None]] = []

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], seconds: float
    ) -> list[Result]:
        """Return the results of `function` for the items, in their order.

        Raises TimeoutError after `seconds`, the first exception that `function` raises, and OSError
        if the system allows no more threads. Then no further call is made.
        """
        end = self._clock() + seconds
        todo = deque(enumerate(items))
        results: dict[int, Result] = {}

        def work() -> None:
            while todo and self._clock() < end:
                try:
                    number, item = todo.popleft()
                except IndexError:
                    return
                try:
                    results[number] = function(item)
                except BaseException:
                    todo.clear()
                    raise

        self._hanging = [call for call in self._hanging if call.is_running]
        started: list[BackgroundCall[None]] = []
        try:
            while len(started) < min(THREADS - len(self._hanging), len(items)):
                started.append(BackgroundCall(work, "beanwatch-call"))
            for call in started:
                call.wait(max(0.0, end - self._clock()))
        except RuntimeError as error:
            raise OSError(str(error)) from None
        finally:
            todo.clear()
            self._hanging += started
        if len(results) < len(items):
            raise TimeoutError
        return [results[number] for number in range(len(items))]

    def try_each(
        self, function: Callable[[Item], Result], items: Sequence[Item], seconds: float
    ) -> tuple[dict[Item, Result], dict[Item, ServerError]]:
        """Return the results by item, and the ServerErrors of the items that have no result.

        Raises TimeoutError and OSError as `map` does, and every other exception of `function`.
        """

        def try_one(item: Item) -> Result | ServerError:
            try:
                return function(item)
            except ServerError as error:
                return error

        found: dict[Item, Result] = {}
        errors: dict[Item, ServerError] = {}
        for item, result in zip(items, self.map(try_one, items, seconds), strict=True):
            if isinstance(result, ServerError):
                errors[item] = result
            else:
                found[item] = result
        return found, errors

    def call(self, function: Callable[[], Result], seconds: float) -> Result:
        """Return the result of one call. Raises as `map` does."""
        return self.map(lambda _: function(), [None], seconds)[0]
