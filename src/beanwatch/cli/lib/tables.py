"""Tables for a terminal. In a narrow terminal, whole columns are left out, but no digit is cut."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.table import Column

from beanwatch.durations import format_duration
from beanwatch.quoting import terminal_text

GAP = 2  # characters between two columns
NAME_WIDTH = 12  # characters; in a narrow terminal, a name may be cut to this length
WANTED_WIDTH = 32  # characters of a text; columns are left out before a text is cut below this
STYLES = {"critical": "bold red", "warning": "yellow", "": ""}
UNKNOWN = "n/a"  # shown for an unknown value; a dot or 0 always means zero
EMPTY_CELLS = ("", ".", "0s", UNKNOWN)


class Columns:
    """A table without border lines that fits the width of the terminal.

    If there is no room, columns are left out in the order of their headings in `spare`: first those
    in which no row has a number other than 0 or a text, then the others. This stops as soon as the
    columns with a `min_width` need not be cut below WANTED_WIDTH. Then these are cut, down to their
    `min_width`. Cells of other columns are never cut.
    """

    def __init__(self, *columns: Column, spare: Sequence[str]) -> None:
        self._columns = columns
        self._spare = spare
        self._rows: list[tuple[Sequence[str], str]] = []

    def add_row(self, *cells: str, style: str = "") -> None:
        """Add a row with a cell for each column. Control characters in the cells are escaped."""
        self._rows.append((list(map(terminal_text, cells)), style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        # Make the lines here: rich.Table takes ten times as long, which is seconds for 5,000 rows.
        widths = self._fit(options.max_width)
        places = [(i, width, self._columns[i].justify == "right") for i, width in widths.items()]
        headings = [str(column.header) for column in self._columns]
        for cells, style in [(headings, "bold"), *self._rows]:
            line = (" " * GAP).join(
                [fit_cell(cells[index], width, to_right=right) for index, width, right in places]
            )
            yield Segment(line.rstrip(), console.get_style(style) if style else None)
            yield Segment.line()

    def _fit(self, room: int) -> dict[int, int]:
        widths = {i: width for i in range(len(self._columns)) if (width := self._longest(i))}
        least = {i: self._columns[i].min_width or width for i, width in widths.items()}
        wanted = {i: max(least[i], min(width, WANTED_WIDTH)) for i, width in widths.items()}
        spare = [i for h in self._spare for i in widths if self._columns[i].header == h]
        for index in sorted(spare, key=self._has_content):  # the sort is stable
            if sum(wanted[i] + GAP for i in widths) - GAP <= room:
                break
            del widths[index]
        for index in sorted(widths, key=lambda i: least[i] - widths[i]):
            over = sum(width + GAP for width in widths.values()) - GAP - room
            if over > 0 and widths[index] > least[index]:
                widths[index] = max(least[index], widths[index] - over)
        return widths

    def _has_content(self, index: int) -> bool:
        return any(cells[index] not in EMPTY_CELLS for cells, _ in self._rows)

    def _longest(self, index: int) -> int:
        texts = {cells[index] for cells, _ in self._rows}
        return max(cell_len(text) for text in (str(self._columns[index].header), *texts))


def fit_cell(text: str, width: int, *, to_right: bool) -> str:
    """Return the text, filled with spaces or cut to `width` columns of the terminal.

    Where it was cut, it ends with an ellipsis. With `to_right`, the spaces are on the left.
    """
    left = width - (len(text) if text.isascii() else cell_len(text))
    if left < 0:
        return set_cell_size(text, width - 1) + "…"
    return " " * left + text if to_right else text + " " * left


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
