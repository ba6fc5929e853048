"""Actions: what runs now, and what people did before."""

from functools import partial
from typing import Any

from beanwatch.store.audit import read_audit
from beanwatch.web.look_ups import LookUp
from beanwatch.web.sources import Sources
from beanwatch.web.view import Page, View

MAX_ENTRIES = 200


def data(view: View) -> dict[str, Any]:
    """Return the data of the page."""
    entries = view.found.value or ()
    return {
        "at": view.now.at,
        "actions": [one.tree() for one in view.runner.list()] if view.runner else [],
        "audit": [one._asdict() for one in entries],
        "error": view.found.error,
        "redis_is_off": view.now.redis_is_off,
    }


def look_up(_: View, sources: Sources) -> LookUp | None:
    """Return how to read the audit list."""
    if sources.redis is None:
        return None
    return LookUp(("audit",), partial(sources.query, partial(read_audit, count=MAX_ENTRIES)))


PAGE = Page("/actions", "actions.html", data, look_up, group="/actions")
