"""Rates of counters that may restart at 0: never negative, never a spike."""

from typing import NamedTuple


class Count(NamedTuple):
    """A counter's value, the time it was read (seconds), and the instance of its server."""

    value: int
    at: float
    instance: str = ""


def rate(before: Count | None, now: Count) -> float | None:
    """The increase a second since `before`; None if that cannot be known.

    It is unknown for the first value, after a restart of the server (even if it replayed its
    binlog), and for a counter that decreased (the queue was deleted and created again). If the
    new queue has already counted further than the old one, the rate is too low, never too high.
    """
    if before is None or before.instance != now.instance or now.value < before.value:
        return None
    elapsed = now.at - before.at
    return (now.value - before.value) / elapsed if elapsed > 0 else None
