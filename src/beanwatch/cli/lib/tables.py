"""Tables for a terminal: where there is no room, whole columns are left out, and never digits."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Column, Table
from rich.text import Text

GAP = 2  # between two columns


class Columns:
    """A table without lines. `spare` are the headings that can be missed, the first one first.

    A column with a `min_width` may be cut to it; of any other each cell is shown whole.
    """

    def __init__(self, *columns: Column, spare: Sequence[str]) -> None:
        self._columns = columns
        self._spare = spare
        self._rows: list[tuple[Sequence[str | Text], str]] = []

    def add_row(self, *cells: str | Text, style: str = "") -> None:
        """One row: a cell for each column."""
        self._rows.append((cells, style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        widths = self._fit(options.max_width)
        # Of widths that are not fixed rich takes from every column, figures too.
        columns = [replace(self._columns[i].copy(), width=width) for i, width in widths.items()]
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for cells, style in self._rows:
            table.add_row(*(cells[index] for index in widths), style=style)
        yield table

    def _fit(self, room: int) -> dict[int, int]:
        widths = {i: width for i in range(len(self._columns)) if (width := self._longest(i))}
        least = {i: self._columns[i].min_width or width for i, width in widths.items()}
        for heading in self._spare:
            if sum(least[i] + GAP for i in widths) - GAP <= room:
                break
            widths = {i: w for i, w in widths.items() if self._columns[i].header != heading}
        for index in sorted(widths, key=lambda i: least[i] - widths[i]):
            over = sum(width + GAP for width in widths.values()) - GAP - room
            if over > 0 and widths[index] > least[index]:
                widths[index] = max(least[index], widths[index] - over)
        return widths

    def _longest(self, index: int) -> int:
        texts = [self._columns[index].header, *(cells[index] for cells, _ in self._rows)]
        return max(cell_len(str(text)) for text in texts)


def number(heading: str) -> Column:
    """A column of figures."""
    return Column(heading, justify="right", no_wrap=True)


def word(heading: str, min_width: int | None = None) -> Column:
    """A column of names; with `min_width` one that may be cut."""
    return Column(heading, no_wrap=True, overflow="ellipsis", min_width=min_width)
