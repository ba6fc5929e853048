"""Measured values become lines of Graphite's plaintext protocol."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Values = Mapping[str, int | float]


class Batch(NamedTuple):
    """Lines that leave together: where they are from, their time, their number, their text."""

    source: str  # the server's node, by which what is dropped is counted
    stamp: int  # seconds since the epoch
    points: int
    lines: bytes


def make_batch(source: str, stamp: int, series: Iterable[tuple[str, Values]]) -> Batch:
    """Lines of `<stem>.<stat> <value> <stamp>` for every (stem, values)."""
    end = f" {stamp}\n"
    lines = [
        f"{stem}.{stat} {value}{end}" for stem, values in series for stat, value in values.items()
    ]
    return Batch(source, stamp, len(lines), "".join(lines).encode())
