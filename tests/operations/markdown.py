"""Tables in Markdown, and pages with generated parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence

Blocks = Mapping[str, Callable[[], str]]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def explained(names: Iterable[str], words: Mapping[str, str], **values: str) -> list[list[str]]:
    """Rows of name and meaning. Raises KeyError if a meaning is missing."""
    return [[f"`{name}`", words[name].format(**values)] for name in names]


def code(names: Iterable[str]) -> str:
    """The names, each as code, with commas between them."""
    return ", ".join(f"`{name}`" for name in names)


def fill(page: str, blocks: Blocks) -> str:
    """The page with every generated part made anew. Raises ValueError if its marks are missing."""
    for name, block in blocks.items():
        start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, found, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no {start} ... {end}")
        page = f"{before}{start}\n\n{block()}\n\n{end}{after}"
    return page
