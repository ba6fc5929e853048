"""Sorts, filters and pages the rows of a table by what the address says."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

PER_PAGE = 100
Row = TypeVar("Row")
Key = Callable[[Any], Any]


class Page(NamedTuple):
    """One page of a table: its rows, its number (from 1), the number of pages and of all rows."""

    rows: Sequence[Any]
    number: int
    pages: int
    total: int

    def tree(self) -> dict[str, Any]:
        """Return the numbers as objects that JSON can hold."""
        return {"page": self.number, "pages": self.pages, "total": self.total}


def cut_page(rows: Sequence[Row], query: Mapping[str, str], per_page: int = PER_PAGE) -> Page:
    """Return the page that `page` in the query names; the nearest one if it does not exist."""
    pages = max(1, -(-len(rows) // per_page))
    text = query.get("page", "1")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 1
    number = min(max(1, number), pages)
    return Page(rows[(number - 1) * per_page : number * per_page], number, pages, len(rows))


def sort_rows(
    rows: Iterable[Row], query: Mapping[str, str], orders: Mapping[str, Key], default: str
) -> tuple[list[Row], str]:
    """Return the rows in the order that `sort` in the query names, and the name of that order.

    A `-` before the name reverses it.
    """
    wanted = query.get("sort", default)
    if wanted.removeprefix("-") not in orders:
        wanted = default
    ordered = sorted(rows, key=orders[wanted.removeprefix("-")], reverse=wanted.startswith("-"))
    return ordered, wanted


def first_high(value: float | None) -> float:
    """Return a sort key that puts the highest numbers first, and unknown ones last."""
    return -value if value is not None else 1.0
