"""Reads the runbook: the section of each alert, and the entry that has an alert's words."""

import re
from functools import cache
from importlib.resources import files

from beanwatch.light_typing import NamedTuple

_WORD = re.compile(r"[A-Za-z_']{2,}")


class Entry(NamedTuple):
    """The remedy of one alert. `title` has its words, the other texts are in Markdown."""

    title: str
    text: str
    look: str = ""  # the line that says what to look at, without "Look: "
    fix: str = ""  # the line that says how to fix it, without "Fix: "


def read_runbook() -> str:
    """Return the whole runbook in Markdown."""
    return files("beanwatch").joinpath("runbook.md").read_text(encoding="utf-8")


def parse_headings(text: str) -> dict[str, str]:
    """Return the sections of the page by heading. The text of each begins with its heading."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].removeprefix("## ").strip(): part for part in parts}


@cache
def _entries(heading: str) -> tuple[Entry, ...]:
    section = parse_headings(read_runbook()).get(heading, "")
    own, *parts = re.split(r"^### ", section, flags=re.MULTILINE)
    found = [_parse_entry(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]
    return (_parse_entry("", own.partition("\n")[2]), *found)


def _parse_entry(title: str, text: str) -> Entry:
    return Entry(title.strip(), text.strip(), _find_line(text, "Look"), _find_line(text, "Fix"))


def _find_line(text: str, label: str) -> str:
    found = re.search(rf"^- {label}: (.*?)(?=^- |^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def find_entry(heading: str, alert: str) -> Entry | None:
    """Return the entry of a section that fits the text of an alert best; None if there is none.

    An entry fits if the alert has all words of its title, or of a part of it between commas. The
    text before the first entry is for every alert of the section.
    """
    entries = _entries(heading)
    known = {word.lower() for word in _WORD.findall(alert)}
    best, score = entries[0] if entries else None, 0
    for entry in entries[1:]:
        for part in (entry.title, *re.split("[,:]", entry.title)):
            words = {word.lower() for word in _WORD.findall(part)} - _PLACEHOLDERS
            if words and words <= known and len(words) > score:
                best, score = entry, len(words)
    return best if best and best.text else None


# The words in titles that stand for a name.
_PLACEHOLDERS = {"job", "file", "line", "name"}
