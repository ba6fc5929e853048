"""Formats values as batches of lines in Graphite's plaintext protocol."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Values = Mapping[str, int | float]
# Batches are small, since sending is throttled, and points are dropped, by whole batches.
MAX_BATCH_LINES = 10_000


class Batch(NamedTuple):
    """Lines of Graphite's plaintext protocol that are sent, or dropped, together."""

    source: str  # the server's node; dropped points are counted for each source
    stamp: int  # seconds since the epoch
    points: int  # the number of lines
    lines: bytes


def make_batches(
    source: str, stamp: int, series: Iterable[tuple[str, Values]], most: int = MAX_BATCH_LINES
) -> Iterator[Batch]:
    """Yield batches of lines `<stem>.<stat> <value> <stamp>` for each (stem, values) of `series`.

    A stem is a path without its last node. The lines of one stem stay together; a batch ends once
    it has at least `most` lines. `stamp` is in seconds since the epoch. `source` is the server's
    node.
    """
    end = f" {stamp}\n"
    lines: list[str] = []
    for stem, values in series:
        lines += [f"{stem}.{stat} {value}{end}" for stat, value in values.items()]
        if len(lines) >= most:
            yield Batch(source, stamp, len(lines), "".join(lines).encode())
            lines = []
    if lines:
        yield Batch(source, stamp, len(lines), "".join(lines).encode())
