"""The text of a plugin: numbers, performance data, and what fits into its output.

Performance data follow the plugin guidelines:
https://www.monitoring-plugins.org/doc/guidelines.html#AEN200
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from beanwatch.config import LinksConfig, Threshold

MAX_LINE = 1000  # characters of text on line 1; send_nsca and old NRPE cut what is longer
MAX_OUTPUT = 4000  # bytes in all: send_nsca sends nothing at all of more than 4,095
BETWEEN_PROBLEMS = " / "  # on line 1; Nagios replaces `;` by `:`
# Patterns as text, compiled where they are needed: most outputs need none of them.
UNPRINTABLE = r"[\x00-\x1f\x7f|\s]+"  # `|` would start the performance data
NOT_IN_A_LABEL = r"[\x00-\x1f\x7f|'=]"
NO_LIMITS = Threshold()


def perf(
    label: str, value: int | float | None, unit: str = "", limits: Threshold = NO_LIMITS
) -> str:
    """One item of performance data. `value` is None if it is not known.

    The label is always quoted, since names of queues hold `;` and `(`.
    """
    if not label.isidentifier():
        label = re.sub(NOT_IN_A_LABEL, "_", label)
    number = format_number(value)
    unit = "" if number == "U" else unit  # by the guidelines, U has no unit
    return f"'{label}'={number}{unit};{limits.warning};{limits.critical};0"


def format_number(value: int | float | None) -> str:
    """A number as performance data has it: no exponent, `U` if it is not known."""
    if isinstance(value, int):
        return str(int(value))  # int, because True is one too
    if value is None or value - value != 0:
        return "U"
    return f"{value:.3f}".rstrip("0").rstrip(".")


def count(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`, `2 queues`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class PluginResult(NamedTuple):
    """The findings of a check: its state, the text of line 1, numbers, and the lines after it."""

    check: str
    state: str  # ok, warning, critical, unknown
    exit_code: int  # 0 to 3
    text: str
    perfdata: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    def render(self) -> str:
        """The output for Nagios, without control characters, at most MAX_OUTPUT bytes."""
        line = clean(f"{self.check.upper()} {self.state.upper()} - {self.text}")
        text = line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 4]} ..."
        room = MAX_OUTPUT - len(text.encode("utf-8", "replace")) - 200
        kept = []
        for item in self.perfdata:
            room -= len(item.encode("utf-8", "replace")) + 1
            if room < 0:
                break
            kept.append(item)
        dropped = len(self.perfdata) - len(kept)
        lines = [f"{text} | {' '.join(kept)}" if kept else text]
        if dropped:
            lines.append(f"performance data: {dropped} more did not fit; choose queues with -Q")
        lines += map(clean, self.details)
        return fit(lines)

    def json(self) -> str:
        """The same as one JSON object."""
        import json  # nagiosplugin has loaded it

        return json.dumps(self._asdict())


def clean(text: str) -> str:
    """Text without what would end a line or start the performance data."""
    if text.isprintable() and "|" not in text:
        return text.strip()
    return re.sub(UNPRINTABLE, " ", text).strip()


def fit(lines: Iterable[str]) -> str:
    """As many of the lines as fit into MAX_OUTPUT bytes, and how many did not."""
    lines = list(lines)
    room = MAX_OUTPUT - 40
    for index, line in enumerate(lines):
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0 and index:
            return "\n".join([*lines[:index], f"... {len(lines) - index} more lines"]) + "\n"
    return "\n".join(lines) + "\n"


# -- links


def runbook_lines(links: LinksConfig, heading: str, headings: Iterable[str]) -> list[str]:
    """Lines for the person who is paged: the command first, since it needs no network.

    `heading` is the check's own, which the link to the graphs takes.
    """
    lines = []
    for one in headings:
        lines.append(f"What to do: beanwatch runbook {one}")
        lines.append(f"Runbook: {fill_link(links.runbook, one)}")
    if links.graphs:
        lines.append(f"Graphs: {fill_link(links.graphs, heading)}")
    return lines


def fill_link(url: str, name: str) -> str:
    """Replace `{name}` in a URL by the name. A URL without it gets `#name` at its end."""
    return url.replace("{name}", name) if "{name}" in url else f"{url}#{name}"
