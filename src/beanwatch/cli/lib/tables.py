"""Tables for a terminal: where there is no room, whole columns are left out, and never digits."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Column, Table
from rich.text import Text

from beanwatch.cli.lib.output import printable
from beanwatch.durations import format_duration

GAP = 2  # between two columns
NAME_WIDTH = 12  # characters to which a name may be cut where there is little room
STYLES = {"critical": "bold red", "warning": "yellow", "": ""}
UNKNOWN = "n/a"  # 0 is shown as a dot, or as 0; what is not known never is


class Columns:
    """A table without lines. `spare` are the headings that can be missed, the first one first.

    A column with a `min_width` may be cut to it; of any other each cell is shown whole.
    """

    def __init__(self, *columns: Column, spare: Sequence[str]) -> None:
        self._columns = columns
        self._spare = spare
        self._rows: list[tuple[Sequence[str], str]] = []

    def add_row(self, *cells: str, style: str = "") -> None:
        """One row: a cell for each column. Control characters in it are escaped."""
        self._rows.append((list(map(printable, cells)), style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        widths = self._fit(options.max_width)
        # If the widths were not fixed, rich would shrink every column, figures too.
        columns = [replace(self._columns[i].copy(), width=width) for i, width in widths.items()]
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for cells, style in self._rows:
            # As Text: in a str, rich would read `[red]` as markup.
            table.add_row(*(Text(cells[index]) for index in widths), style=style)
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
        texts = [str(self._columns[index].header), *(cells[index] for cells, _ in self._rows)]
        return max(map(cell_len, texts))


def number(heading: str) -> Column:
    """A column of figures."""
    return Column(heading, justify="right", no_wrap=True)


def word(heading: str, min_width: int | None = None) -> Column:
    """A column of names; with `min_width` one that may be cut."""
    return Column(heading, no_wrap=True, overflow="ellipsis", min_width=min_width)


def count_cell(count: int | None, *, zero: str = ".") -> str:
    """A count; a dot for 0, so that what is there stands out."""
    if count is None:
        return UNKNOWN
    return f"{count:,}" if count else zero


def rate_cell(rate: float | None) -> str:
    """Jobs a second; a dot for none."""
    if rate is None:
        return UNKNOWN
    return f"{rate:,.1f}" if rate else "."


def time_cell(seconds: float | None) -> str:
    """A duration."""
    return UNKNOWN if seconds is None else format_duration(seconds)
