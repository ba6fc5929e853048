"""Format values as lines of Graphite's plaintext protocol, in batches."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Values = Mapping[str, int | float]
# A batch is the unit of limited speed and of loss, so it is small.
MAX_BATCH_LINES = 10_000


class Batch(NamedTuple):
    """Lines that are sent together."""

    source: str  # the server's node; dropped points are counted for each source
    stamp: int  # seconds since the epoch
    points: int
    lines: bytes


def make_batches(
    source: str, stamp: int, series: Iterable[tuple[str, Values]], most: int = MAX_BATCH_LINES
) -> Iterator[Batch]:
    """Yield batches of lines `<stem>.<stat> <value> <stamp>` for every (stem, values).

    A batch ends after the first stem with which it has at least `most` lines. `stamp` is seconds
    since the epoch.
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
