"""Renders data as HTML with the templates. No text can become markup, and none is endless."""

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from beanwatch import __version__
from beanwatch.durations import format_duration
from beanwatch.quoting import html_text
from beanwatch.web.history import POINTS
from beanwatch.web.urls import MAX_VALUE, Urls
from beanwatch.words import count

MAX_TEXT = 500  # characters of a text in one place
MAX_BLOCK = 16_384  # characters of a body or a traceback
WIDTH, HEIGHT = 120, 24  # of a sparkline, in units of its own
UNKNOWN = "n/a"
_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e5, "k"))
_SIZES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


def safe(value: Any) -> Any:
    """Return a value as a template shows it: each text escaped, cut, and all of it visible."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str) and not isinstance(value, Markup):
        return Markup(html_text(value, MAX_TEXT))  # noqa: S704 - html_text escapes it
    return value


def block(text: str, limit: int = MAX_BLOCK) -> Markup:
    """Return a text of several lines, such as a traceback."""
    return Markup(html_text(text, limit, keep_lines=True))  # noqa: S704


def number(value: float | None, digits: int = 0) -> str:
    """Return a number for people: `1,234`, `12.5k`; `n/a` if it is unknown."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    for least, suffix in _SUFFIXES:
        if abs(value) >= least:
            unit = least if suffix != "k" else 1e3
            return f"{value / unit:,.1f}{suffix}"
    return f"{value:,.{digits}f}"


def rate(value: float | None) -> str:
    """Return a rate with its unit: `3.2/s`."""
    return UNKNOWN if value is None else f"{number(value, 1)}/s"


def size(value: float | None) -> str:
    """Return a number of bytes with its unit."""
    if value is None or value < 0:
        return UNKNOWN
    for least, unit in _SIZES:
        if value >= least:
            return f"{value / least:,.1f} {unit}"
    return f"{value:,.0f} B"


def duration(seconds: float | None) -> str:
    """Return a duration; `n/a` if it is unknown."""
    return UNKNOWN if seconds is None or seconds < 0 else format_duration(seconds)


def when(at: float | None, now: float) -> Markup | str:
    """Return a moment as a time element: relative in its text, absolute when pointed at.

    `at` and `now` are in seconds since the epoch. The script of the page keeps the text true.
    """
    if not at or not math.isfinite(at) or not 0 < at < 1e11:
        return UNKNOWN
    at = float(round(at))
    machine = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    human = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    ago = f"{format_duration(max(0.0, now - at))} ago"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, human, ago)


def since(at: float | None, now: float) -> Markup | str:
    """Return how long something lasts that began at `at`, as a time element that grows."""
    found = when(at, now)
    if not isinstance(found, Markup):
        return found
    text = str(found).replace("<time ", '<time data-for="" ').replace(" ago</time>", "</time>")
    return Markup(text)  # noqa: S704 - it was Markup


def sparkline(points: Sequence[float | None], label: str) -> Markup:
    """Return a small line chart of the last hour as SVG. `label` says what it shows."""
    known = [point for point in points if point is not None]
    if len(known) < 2:
        return Markup('<span class="spark none" aria-hidden="true"></span>')
    top = max(*known, 1e-9)
    step = WIDTH / (POINTS - 1)
    parts, pen = [], "M"
    for place, point in enumerate(points):
        if point is None:
            pen = "M"
            continue
        y = HEIGHT - 1 - point / top * (HEIGHT - 2)
        parts.append(f"{pen}{place * step:.0f} {y:.1f}")
        pen = "L"
    words = f"{label}, last hour: now {number(known[-1], 1)}, at most {number(top, 1)}"
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><path d="{}" vector-effect="non-scaling-stroke"/></svg>'
    ).format(WIDTH, HEIGHT, words, " ".join(parts))


@lru_cache(maxsize=200)
def markdown(text: str) -> Markup:
    """Return a text of beanwatch's own runbook as HTML; markup in it is shown as text."""
    return Markup(_markdown.render(text))  # noqa: S704 - html is off


def inline(text: str) -> Markup:
    """Return a sentence of the runbook as HTML, without a paragraph around it."""
    return Markup(_markdown.renderInline(text))  # noqa: S704 - html is off


def ident(text: str) -> str:
    """Return an id for an element that stands for any text."""
    return f"x{blake2b(text.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"


def whole(text: str) -> Markup:
    """Return a text for a field of a form, which brings back exactly this text."""
    return Markup(escape(text[:MAX_VALUE]))  # noqa: S704


class Renderer:
    """The templates, with the functions that they use."""

    def __init__(self, urls: Urls) -> None:
        self.urls = urls
        self._jinja = Environment(
            loader=PackageLoader("beanwatch.web"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=safe,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters |= {
            "block": block,
            "number": number,
            "rate": rate,
            "size": size,
            "duration": duration,
            "markdown": markdown,
            "inline": inline,
            "ident": ident,
            "whole": whole,
            "capitalize_first": lambda text: text[:1].upper() + text[1:],
        }
        self._jinja.globals |= {
            "sparkline": sparkline,
            "count": count,
            "plural": count,
            "version": __version__,
            "base": urls.base,
            "link": self._marked(urls.page),
            "queue_url": self._marked(urls.queue),
            "worker_url": self._marked(urls.worker),
            "job_url": self._marked(urls.job),
            "failure_url": self._marked(urls.failure),
        }

    def page(self, template: str, now: float, **data: Any) -> tuple[str, dict[str, str]]:
        """Return a page as HTML, and its live fragments by id.

        A template marks a fragment with `{% call live("id") %}`.
        """
        fragments: dict[str, str] = {}

        def live(ident: str, caller: Callable[[], str]) -> Markup:
            text = caller()
            fragments[ident] = text
            return Markup('<div id="{}" data-live>{}</div>').format(ident, Markup(text))  # noqa: S704

        html = self._jinja.get_template(template).render(
            live=live,
            now=now,
            when=lambda at: when(at, now),
            since=lambda at: since(at, now),
            **data,
        )
        return html, fragments

    @staticmethod
    def mark(address: str) -> Markup:
        """Mark an address as safe: its parts are percent-encoded. Nothing is cut."""
        return Markup(html_text(address, 1_000_000))  # noqa: S704

    def _marked(self, make: Callable[..., str]) -> Callable[..., Markup]:
        return lambda *args, **query: self.mark(make(*args, **query))
