"""Checks: what each check would say now, with the runbook."""

from typing import Any

from beanwatch.checks.lib.runbook_page import find_entry
from beanwatch.checks.registry import CHECKS, find_check
from beanwatch.globs import fits
from beanwatch.web.snapshot import CHECKS_INTERVAL, CheckResult
from beanwatch.web.tables import cut_page
from beanwatch.web.view import Page, View

PER_PAGE = 50
MAX_LINES = 50  # of the details of a service
_RANKS = {"critical": 0, "unknown": 1, "warning": 2, "ok": 3}


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: q, check, state, page."""
    now = view.now
    found = [
        one
        for one in now.checks.value
        if view.text("check") in ("", one.service.check)
        and view.text("state") in ("", one.result.state)
        and fits(f"{one.service.host} {one.service.name}", view.text("q"))
    ]
    found.sort(key=lambda one: (_RANKS.get(one.result.state, 3), one.service.host))
    page = cut_page(found, view.query, PER_PAGE)
    return {
        "at": now.at,
        **page.tree(),
        "checks": [_tree(one) for one in page.rows],
        "names": [check.name for check in CHECKS],
        "states": list(_RANKS),
        "read_at": now.checks.read_at,
        "interval": CHECKS_INTERVAL,
        "trouble": now.checks_trouble,
    }


def _tree(one: CheckResult) -> dict[str, Any]:
    service, result = one
    heading = find_check(service.check).heading
    entry = find_entry(heading, result.text) if result.exit_code else None
    return {
        "host": service.host,
        "service": service.name,
        "check": service.program,
        "state": result.state,
        "text": result.text,
        "details": _cut([line for line in result.details if not line.startswith(_LINKS)]),
        "heading": heading,
        "runbook": entry.text if entry else "",
        "runbook_title": entry.title if entry else "",
    }


def _cut(lines: list[str]) -> list[str]:
    """Return the first lines; a service for all queues may have thousands."""
    more = len(lines) - MAX_LINES
    return [*lines[:MAX_LINES], f"... {more:,} more"] if more > 0 else lines


_LINKS = ("What to do:", "Runbook:", "Graphs:")
PAGE = Page("/checks", "checks.html", data, group="/checks")
