"""Workers: what each does now, the worst first."""

from collections import Counter
from typing import Any

from beanwatch.globs import fits
from beanwatch.store.health import HEALTH, UNKNOWN, rank_health
from beanwatch.web.tables import cut_page, sort_rows
from beanwatch.web.view import Page, View

PER_PAGE = 50
_WORST = {"critical": 0, "warning": 1, "": 2}
ORDERS = {
    "worst": lambda one: (_WORST[one["wrong"]], -rank_health(one["health"]), one["id"]),
    "id": lambda one: one["id"],
    "longest": lambda one: (
        min((job["started_at"] or 1e12 for job in one["jobs"]), default=1e13),
        one["id"],
    ),
    "memory": lambda one: (-(one["rss"] or 0), one["id"]),
    "failed": lambda one: (-(one["failed"] or 0), one["id"]),
}


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: q, queue, state, only=wrong, sort, page."""
    now = view.now
    every = now.worker_views
    found = [
        one
        for one in every
        if fits(one["id"], view.text("q"))
        and view.text("state") in ("", one["health"])
        and (not view.text("queue") or works_on(one, view.text("queue")))
        and (one["wrong"] or view.text("only") != "wrong")
    ]
    found, order = sort_rows(found, view.query, ORDERS, "worst")
    page = cut_page(found, view.query, PER_PAGE)
    return {
        "at": now.at,
        **page.tree(),
        "sort": order,
        "workers": page.rows,
        "counts": dict(Counter(one["health"] for one in every)),
        "states": [*HEALTH, UNKNOWN, "ended"],
        "read_at": now.workers.read_at,
        "trouble": "" if now.redis_is_off else now.trouble(now.workers),
        "redis_is_off": now.redis_is_off,
    }


def works_on(worker: dict[str, Any], queue: str) -> bool:
    """Return True if a worker takes jobs from a queue, or runs one of it."""
    return queue in (worker["queues"] or ()) or any(job["queue"] == queue for job in worker["jobs"])


PAGE = Page("/workers", "workers.html", data, group="/workers")
