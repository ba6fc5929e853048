"""Queues: all of them, with filters and orders."""

from collections.abc import Callable
from typing import Any

from beanwatch.fleet.overview import QueueRow
from beanwatch.globs import fits
from beanwatch.queues.consumers import STATES
from beanwatch.web.tables import cut_page, first_high, sort_rows
from beanwatch.web.view import Page, View

PER_PAGE = 50
_WORST = {"critical": 0, "warning": 1, "": 2}
_HIGHEST_FIRST = (
    *("ready", "reserved", "delayed", "buried", "consumers"),
    *("put_rate", "delete_rate", "age", "drain"),
)


def _highest(name: str) -> Callable[[QueueRow], Any]:
    return lambda row: (first_high(getattr(row, name)), row.queue, row.server)


ORDERS: dict[str, Callable[[QueueRow], Any]] = {
    "worst": lambda row: (_WORST[row.wrong], -(row.ready or 0), row.queue, row.server),
    "name": lambda row: (row.queue, row.server),
    **{name: _highest(name) for name in _HIGHEST_FIRST},
}


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: q, server, state, only=wrong, sort, page."""
    now = view.now
    rows = [
        row
        for row in now.queues
        if fits(row.queue, view.text("q"))
        and view.text("server") in ("", row.server)
        and view.text("state") in ("", row.state or "unknown")
        and (row.wrong or view.text("only") != "wrong")
    ]
    rows, order = sort_rows(rows, view.query, ORDERS, "worst")
    page = cut_page(rows, view.query, PER_PAGE)
    return {
        "at": now.at,
        **page.tree(),
        "sort": order,
        "queues": [
            {
                **row.tree(),
                "read_at": now.servers[row.server].value.queues_at,
                "is_old": row.server in now.stale_servers,
                "history": now.points((row.server, row.queue), "ready"),
            }
            for row in page.rows
        ],
        "servers": sorted(now.servers),
        "states": [*STATES, "unknown"],
        "stale": _stale(view),
    }


def _stale(view: View) -> list[dict[str, Any]]:
    now = view.now
    return [
        {"server": node, "read_at": read_at, "trouble": now.queues_trouble(node)}
        for node, read_at in now.stale_servers.items()
    ]


PAGE = Page("/queues", "queues.html", data, group="/queues")
