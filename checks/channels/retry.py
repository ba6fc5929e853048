"""The rule for sending an alert again that its target did not accept."""

import random
import time
from collections.abc import Callable

from beanwatch.checks.channels.alert import DeliveryError

PAUSES = (1.0, 3.0)  # seconds, at least, before the second and the third attempt
MAX_PAUSE_SHARE = 0.75  # of the time that is left: the rest is for the next attempt


class NotAcceptedError(DeliveryError):
    """The target did not accept the alert, by what is known, and may accept it later.

    `retry_after` is the pause that the target requested, in seconds; 0: it requested none.
    """

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Attempts:
    """Sends an alert up to three times, within `timeout` seconds from now.

    Nagios and Icinga do not run a notification command again: without a second attempt, an alert
    is lost if its target is busy for a moment. The pauses are random, because an outage sends many
    alerts at once. `draw` returns a random number from 0 to 1.
    """

    def __init__(
        self,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._end = clock() + timeout

    @property
    def left(self) -> float:
        """The seconds that are left; always above 0, so that it can be the timeout of a socket."""
        return max(0.001, self._end - self._clock())

    def run(self, send: Callable[[float], None]) -> None:
        """Call `send` with the seconds that are left, and again if it raises NotAcceptedError.

        After any other error the target may have the alert, and a second one would be a duplicate.
        Raises DeliveryError: that of the last attempt.
        """
        for pause in PAUSES:
            try:
                send(self.left)
                return
            except NotAcceptedError as error:
                left = self.left
                if left <= pause:
                    raise
                wait = max(pause, error.retry_after) * (1 + self._draw())
                self._sleep(min(wait, left * MAX_PAUSE_SHARE))
        send(self.left)
