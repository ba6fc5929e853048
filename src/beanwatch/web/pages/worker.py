"""A worker: its job and at which line, how its last processes ended, its memory."""

from typing import Any

from beanwatch.web.view import NotFoundError, Page, View
from beanwatch.web.worker_view import worker_view


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: id. Raises NotFoundError."""
    now, ident = view.now, view.text("id")
    found = next((one for one in now.workers.value if one.id == ident), None)
    if found is None:
        raise NotFoundError(f"no worker {ident!r} is known: it has stopped, or never existed")
    failures = [one.tree() for one in now.failures.value if one.worker == ident][:10]
    return {
        "at": now.at,
        "worker": worker_view(found, now.workers.read_at),
        "failures": failures,
        "trouble": now.trouble(now.workers),
        "read_at": now.workers.read_at,
    }


PAGE = Page("/worker", "worker.html", data, group="/workers")
