"""Tables for a terminal. In a narrow terminal, whole columns are left out, but no digit is cut."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Column, Table
from rich.text import Text

from beanwatch.durations import format_duration
from beanwatch.quoting import terminal_text

GAP = 2  # characters between two columns
NAME_WIDTH = 12  # characters; in a narrow terminal, a name may be cut to this length
STYLES = {"critical": "bold red", "warning": "yellow", "": ""}
UNKNOWN = "n/a"  # shown for an unknown value; a dot or 0 always means zero


class Columns:
    """A table without border lines that fits the width of the terminal.

    If there is no room, columns are left out in the order of their headings in `spare`. Then
    columns with a `min_width` are cut, down to that width. Cells of other columns are never cut.
    """

    def __init__(self, *columns: Column, spare: Sequence[str]) -> None:
        self._columns = columns
        self._spare = spare
        self._rows: list[tuple[Sequence[str], str]] = []

    def add_row(self, *cells: str, style: str = "") -> None:
        """Add a row with a cell for each column. Control characters in the cells are escaped."""
        self._rows.append((list(map(terminal_text, cells)), style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        widths = self._fit(options.max_width)
        # Fix the widths; otherwise rich would shrink every column, and so cut off digits.
        columns = [replace(self._columns[i].copy(), width=width) for i, width in widths.items()]
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for cells, style in self._rows:
            # Wrap the cells in Text, because rich reads `[red]` in a str as markup.
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


def number_column(heading: str) -> Column:
    """Return a column of numbers: aligned to the right, and never cut."""
    return Column(heading, justify="right", no_wrap=True)


def text_column(heading: str, min_width: int | None = None) -> Column:
    """Return a column of texts, which may be cut to `min_width` characters if that is given."""
    return Column(heading, no_wrap=True, overflow="ellipsis", min_width=min_width)


def count_cell(count: int | None, *, zero: str = ".") -> str:
    """Format a count; 0 becomes a dot, so that other counts stand out, and None becomes n/a."""
    if count is None:
        return UNKNOWN
    return f"{count:,}" if count else zero


def rate_cell(rate: float | None) -> str:
    """Format a rate in jobs per second; 0 becomes a dot, and None becomes n/a."""
    if rate is None:
        return UNKNOWN
    return f"{rate:,.1f}" if rate else "."


def time_cell(seconds: float | None) -> str:
    """Format a duration in seconds; None becomes n/a."""
    return UNKNOWN if seconds is None else format_duration(seconds)
