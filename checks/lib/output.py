"""Formats the output of a plugin: text, performance data and links, within Nagios's limits.

Performance data follow the plugin guidelines:
https://www.monitoring-plugins.org/doc/guidelines.html#AEN200
"""

from collections.abc import Iterable

from beanwatch.config import LinksConfig, Threshold
from beanwatch.light_typing import NamedTuple
from beanwatch.quoting import perf_label, plugin_text
from beanwatch.words import count

MAX_LINE = 1000  # characters of text on line 1; send_nsca and old NRPE cut what is longer
MAX_OUTPUT = 4000  # bytes of all lines; send_nsca drops a result of more than 4,095 bytes
BETWEEN_PROBLEMS = " / "  # on line 1; not `;`, because Nagios replaces it by `:`
NO_LIMITS = Threshold()


def perf(
    label: str, value: int | float | None, unit: str = "", limits: Threshold = NO_LIMITS
) -> str:
    """Format one item of performance data: `'label'=12s;300;1800;0`. None is shown as `U`.

    The label is always quoted, because names of queues may contain `;` and `(`.
    """
    number = format_number(value)
    unit = "" if number == "U" else unit  # by the guidelines, U has no unit
    return f"{perf_label(label)}={number}{unit};{limits.warning};{limits.critical};0"


def format_number(value: int | float | None) -> str:
    """Format a number for performance data: without an exponent; `U` for None, NaN and infinity."""
    if isinstance(value, int):
        return str(int(value))  # int, because True is one too
    if value is None or value - value != 0:
        return "U"
    return f"{value:.3f}".rstrip("0").rstrip(".")


class PluginResult(NamedTuple):
    """The result of a check. Line 1 is `text` and `perfdata`; `details` are the other lines."""

    check: str
    state: str  # ok, warning, critical, unknown
    exit_code: int  # 0 to 3
    text: str
    perfdata: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    def render(self) -> str:
        """Return the output for Nagios: no control characters, at most MAX_OUTPUT bytes."""
        line = plugin_text(f"{self.check.upper()} {self.state.upper()} - {self.text}")
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
            lines.append(
                f"{count(dropped, 'item')} of performance data did not fit; choose queues with -Q"
            )
        lines += map(plugin_text, self.details)
        return join_fitting(lines)

    def json(self) -> str:
        """Return all fields as one JSON object."""
        import json  # here, because it is rarely needed

        return json.dumps(self._asdict())


def join_fitting(lines: Iterable[str]) -> str:
    """Join the lines that fit into MAX_OUTPUT bytes. A last line counts those that do not fit."""
    lines = list(lines)
    room = MAX_OUTPUT - 40
    for index, line in enumerate(lines):
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0 and index:
            return (
                "\n".join([*lines[:index], f"... {count(len(lines) - index, 'more line')}"]) + "\n"
            )
    return "\n".join(lines) + "\n"


# -- links


def runbook_lines(links: LinksConfig, heading: str, headings: Iterable[str]) -> list[str]:
    """Return the lines that tell the person who is paged what to read.

    `headings` are headings of the runbook. `heading` is the one of the check; the link to the
    graphs contains it. The command comes first, because it works without a network.
    """
    lines = []
    for one in headings:
        lines.append(f"What to do: beanwatch runbook {one}")
        lines.append(f"Runbook: {fill_link(links.runbook, one)}")
    if links.graphs:
        lines.append(f"Graphs: {fill_link(links.graphs, heading)}")
    return lines


def fill_link(url: str, name: str) -> str:
    """Replace `{name}` in a URL by the name. Append `#` and the name if the URL has no `{name}`."""
    return url.replace("{name}", name) if "{name}" in url else f"{url}#{name}"
