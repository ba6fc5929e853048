"""Measured values become lines of Graphite's plaintext protocol."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Values = Mapping[str, int | float]
# Lines in a batch. Small enough to be sent at a limited speed and to be lost singly.
MOST = 10_000


class Batch(NamedTuple):
    """Lines that leave together: where they are from, their time, their number, their text."""

    source: str  # the server's node, by which what is dropped is counted
    stamp: int  # seconds since the epoch
    points: int
    lines: bytes


def make_batches(
    source: str, stamp: int, series: Iterable[tuple[str, Values]], most: int = MOST
) -> Iterator[Batch]:
    """Lines `<stem>.<stat> <value> <stamp>` of every (stem, values), `most` or so in a batch."""
    end = f" {stamp}\n"
    lines: list[str] = []
    for stem, values in series:
        lines += [f"{stem}.{stat} {value}{end}" for stat, value in values.items()]
        if len(lines) >= most:
            yield Batch(source, stamp, len(lines), "".join(lines).encode())
            lines = []
    if lines:
        yield Batch(source, stamp, len(lines), "".join(lines).encode())
