"""Wait until a condition is true, instead of a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class WaitError(AssertionError):
    """The condition did not become true in time. The text has its last value or exception."""


def wait_until(
    predicate: Callable[[], T],
    timeout: float = 15.0,
    message: str = "",
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call `predicate` until it returns a true value, and return that value.

    An exception counts as "not yet". After `timeout` seconds, raises WaitError; `message` says in
    its text what was waited for. A predicate that takes long is called less often, up to half of
    the time, as it takes processor time from what is waited for.
    """
    deadline = clock() + timeout
    pause = 0.005
    while True:
        asked = clock()
        try:
            value = predicate()
            if value:
                return value
            seen = f"last value: {value!r}"
        except Exception as error:  # the next call may succeed
            seen = f"last error: {error!r}"
        now = clock()
        if now >= deadline:
            what = message or getattr(predicate, "__name__", repr(predicate))
            raise WaitError(f"timed out after {timeout:g} s waiting for: {what}; {seen}")
        sleep(max(pause, min(now - asked, 1.0)))
        pause = min(pause * 1.5, 0.1)
