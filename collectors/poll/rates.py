"""Rates of counters that may start anew: never negative, never a spike."""

from typing import NamedTuple


class Count(NamedTuple):
    """A counter's value, when it was read (seconds), and in which life of its owner."""

    value: int
    at: float
    life: str = ""


def rate(before: Count | None, now: Count) -> float | None:
    """How much a second it rose since `before`; None where that cannot be known.

    Unknown: the first value, another life (a restarted server, also one that replayed its
    binlog), and a counter that fell (a queue that vanished and came back). A queue that came
    back and has already counted further than before gives too low a rate, never too high.
    """
    if before is None or before.life != now.life or now.value < before.value:
        return None
    elapsed = now.at - before.at
    return (now.value - before.value) / elapsed if elapsed > 0 else None
