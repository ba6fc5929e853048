"""Wait for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class WaitError(AssertionError):
    """The condition did not come true in time; says what was seen last."""


def wait_until(
    predicate: Callable[[], T],
    timeout: float = 15.0,
    message: str = "",
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """The first true value of `predicate`; an exception in it counts as not yet."""
    deadline = clock() + timeout
    pause = 0.005
    while True:
        try:
            value = predicate()
            if value:
                return value
            seen = f"last value: {value!r}"
        except Exception as error:  # whatever it was, it may be gone at the next try
            seen = f"last error: {error!r}"
        if clock() >= deadline:
            what = message or getattr(predicate, "__name__", repr(predicate))
            raise WaitError(f"{what}: not within {timeout:g} s; {seen}")
        sleep(pause)
        pause = min(pause * 1.5, 0.1)
