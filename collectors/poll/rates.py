"""Compute rates of counters that may restart at 0, without negative rates and spikes."""

from typing import NamedTuple


class Count(NamedTuple):
    """A counter's value, when it was read (seconds), and the server process that counted it."""

    value: int
    at: float
    instance: str = ""


def rate(before: Count | None, now: Count) -> float | None:
    """Return the increase per second since `before`; None if it cannot be known.

    It is unknown for the first value, after a restart of the server (even if it read its binlog),
    and for a counter that decreased: the queue was deleted and created again. If the new queue has
    already counted further than the old one, the rate is too low, but never too high.
    """
    if before is None or before.instance != now.instance or now.value < before.value:
        return None
    elapsed = now.at - before.at
    return (now.value - before.value) / elapsed if elapsed > 0 else None
