"""Failures: the last failed runs, grouped by kind of job and reason."""

from collections.abc import Sequence
from typing import Any

from beanwatch.fleet.failure_list import group_failures
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.failures import MAX_FAILURES
from beanwatch.web.choices import read_choice
from beanwatch.web.tables import cut_page
from beanwatch.web.view import Page, View

PER_PAGE = 50
PERIODS = ("5m", "1h", "24h")


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: queue, job, reason, worker, outcome, within, group, page.

    Without `group=no`, the rows are groups of failures with the same queue, job and reason.
    """
    now = view.now
    found = read_choice(view.query).choose(now.failures.value, now.at)
    is_grouped = view.text("group") != "no"
    rows: Sequence[Any] = group_failures(found) if is_grouped else found
    page = cut_page(rows, view.query, PER_PAGE)
    return {
        "at": now.at,
        **page.tree(),
        "grouped": is_grouped,
        "failed": len(found),
        "groups" if is_grouped else "failures": [one._asdict() for one in page.rows],
        "outcomes": [outcome.name for outcome in OUTCOMES if outcome.is_failure],
        "periods": PERIODS,
        "kept": MAX_FAILURES,
        "read_at": now.failures.read_at,
        "trouble": "" if now.redis_is_off else now.trouble(now.failures),
        "redis_is_off": now.redis_is_off,
    }


PAGE = Page("/failures", "failures.html", data, group="/failures")
