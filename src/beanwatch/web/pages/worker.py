"""A worker: its job and at which line, how its last processes ended, its memory."""

from typing import Any

from beanwatch.web.sources import NO_REDIS
from beanwatch.web.view import NotFoundError, NotReadError, Page, View


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: id. Raises NotFoundError."""
    now, ident = view.now, view.text("id")
    if now.redis_is_off:
        raise NotFoundError(NO_REDIS)
    trouble = now.trouble(now.workers)
    found = next((one for one in now.worker_views if one["id"] == ident), None)
    if found is None and trouble:
        raise NotReadError(f"nobody knows whether there is a worker {ident!r}: {trouble}")
    if found is None:
        raise NotFoundError(f"no worker {ident!r} is known: it has stopped, or never existed")
    failures = [one.tree() for one in now.failures.value if one.worker == ident][:10]
    return {
        "at": now.at,
        "worker": found,
        "failures": failures,
        "trouble": trouble,
        "read_at": now.workers.read_at,
    }


PAGE = Page("/worker", "worker.html", data, group="/workers")
