"""Servers: each queue server, and the Redis of the heartbeats."""

from typing import Any

from beanwatch.fleet.overview import ServerRow
from beanwatch.web.view import Page, View


def data(view: View) -> dict[str, Any]:
    """Return the data of the page."""
    now = view.now
    return {
        "at": now.at,
        "servers": [_tree(view, row) for row in now.server_rows],
        "redis": {
            "is_off": now.redis_is_off,
            "trouble": "" if now.redis_is_off else now.trouble(now.workers),
            "read_at": now.workers.read_at,
            "was_tried": bool(now.workers.tried_at),
            "workers": len(now.workers.value) if now.workers.read_at else None,
            "failures": len(now.failures.value) if now.failures.read_at else None,
        },
    }


def _tree(view: View, row: ServerRow) -> dict[str, Any]:
    part = view.now.servers[row.server]
    return {**row.tree(), "read_at": part.read_at, "was_tried": bool(part.tried_at)}


PAGE = Page("/servers", "servers.html", data, group="/servers")
