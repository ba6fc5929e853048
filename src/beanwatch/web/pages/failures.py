"""Failures: the last failed runs, grouped by kind of job and reason."""

from collections.abc import Sequence
from typing import Any

from beanwatch.fleet.failure_list import group_failures
from beanwatch.fleet.server_failures import ServerFailures
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.failures import MAX_FAILURES, Failure
from beanwatch.web.choices import read_choice
from beanwatch.web.failed_jobs import FailedJobs, FailedParts
from beanwatch.web.look_ups import LookUp
from beanwatch.web.parts import Part
from beanwatch.web.snapshot import Snapshot
from beanwatch.web.sources import Sources
from beanwatch.web.tables import cut_page
from beanwatch.web.view import Page, View

PER_PAGE = 50
PERIODS = ("5m", "1h", "24h")


def data(view: View) -> dict[str, Any]:
    """Return the data of the page.

    Query: queue, job, reason, worker, outcome, server, trace, like, within, group, page. Without
    `group=no`, the rows are groups of failures with the same queue, job and reason.
    """
    now = view.now
    jobs: FailedJobs | None = view.found.value
    parts = jobs.parts if jobs else {}
    found = read_choice(view.query).choose(list_all(now.failures.value, parts), now.at)
    is_grouped = view.text("group") != "no"
    rows: Sequence[Any] = group_failures(found) if is_grouped else found
    page = cut_page(rows, view.query, PER_PAGE)
    return {
        "at": now.at,
        **page.tree(),
        "grouped": is_grouped,
        "failed": len(found),
        "groups" if is_grouped else "failures": [one.tree() for one in page.rows],
        "outcomes": [outcome.name for outcome in OUTCOMES if outcome.is_failure],
        "periods": PERIODS,
        "kept": MAX_FAILURES,
        "read_at": now.failures.read_at,
        "trouble": "" if now.redis_is_off else now.trouble(now.failures),
        "redis_is_off": now.redis_is_off,
        "servers": [_server_tree(now, node, part) for node, part in parts.items()],
        "error": view.found.error,
    }


def list_all(recorded: Sequence[Failure], parts: FailedParts) -> Sequence[Failure]:
    """Return the recorded failed runs and the failed jobs of servers, the newest first."""
    kept = [one for part in parts.values() for one in part.value.failures]
    return sorted([*recorded, *kept], key=lambda one: -one.failed_at) if kept else recorded


def _server_tree(now: Snapshot, node: str, part: Part[ServerFailures]) -> dict[str, Any]:
    """Return what is known of the failed jobs that a server keeps."""
    system = now.configured[node].system
    counts = [row.buried for row in now.queues if row.server == node and row.buried is not None]
    is_unasked = bool(system.peek_effect) and not part.tried_at
    return {
        "server": node,
        "system": system.name,
        "noun": system.failed.noun,
        "failed": sum(counts) if counts else None,
        "listed": len(part.value.details),
        "left_out": part.value.left_out,
        "read_at": part.read_at or None,
        "trouble": "" if is_unasked else part.trouble(now.at, float("inf")),
        "peek_effect": system.peek_effect,
    }


def look_up(_: View, sources: Sources) -> LookUp | None:
    """Return how to read the failed jobs that servers keep."""
    jobs = sources.failed_jobs
    return LookUp(("failed-jobs",), jobs.read) if jobs.servers else None


PAGE = Page("/failures", "failures.html", data, look_up, group="/failures")
