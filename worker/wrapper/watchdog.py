"""Watchdog: has a program said in time that it is alive?"""

import time
from collections.abc import Callable


class Watchdog:
    """Expires if `feed` was not called for `timeout` seconds; 0: never.

    Unless `is_armed`, it begins with the first call of `feed`: not every program feeds it.
    """

    def __init__(
        self, timeout: float, *, is_armed: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.timeout, self.is_armed = timeout, is_armed and timeout > 0
        self._clock = clock
        self._fed_at = clock()
        self.is_triggered = False

    def feed(self) -> None:
        """Note that the program is alive."""
        self._fed_at = self._clock()
        self.is_armed = self.timeout > 0

    def trigger(self) -> None:
        """Note that the program says itself that it hangs: it cannot be fed any more."""
        self.is_triggered = self.is_armed = True

    @property
    def is_expired(self) -> bool:
        """True if the program hangs."""
        late = self.is_armed and self._clock() - self._fed_at > self.timeout
        return self.is_triggered or late
