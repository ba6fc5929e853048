"""Failures: the last failed runs, grouped by kind of job and reason."""

from collections.abc import Iterable, Sequence
from typing import Any

from beanwatch.outcomes import OUTCOMES
from beanwatch.store.failures import MAX_FAILURES, Failure
from beanwatch.values import duration
from beanwatch.web.tables import cut_page, fits
from beanwatch.web.view import Page, View

PER_PAGE = 50
PERIODS = ("5m", "1h", "24h")


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: queue, job, reason, worker, outcome, within, group, page.

    Without `group=no`, the rows are groups of failures with the same queue, job and reason.
    """
    now = view.now
    found = select(now.failures.value, view.query, now.at)
    is_grouped = view.text("group") != "no"
    rows = group_failures(found) if is_grouped else [one._asdict() for one in found]
    page = cut_page(rows, view.query, PER_PAGE)
    return {
        "at": now.at,
        **page.tree(),
        "grouped": is_grouped,
        "failed": len(found),
        "groups" if is_grouped else "failures": page.rows,
        "outcomes": [outcome.name for outcome in OUTCOMES if outcome.is_failure],
        "periods": PERIODS,
        "kept": MAX_FAILURES,
        "read_at": now.failures.read_at,
        "trouble": "" if now.redis_is_off else now.trouble(now.failures),
        "redis_is_off": now.redis_is_off,
    }


def select(failures: Sequence[Failure], query: Any, now: float) -> list[Failure]:
    """Return the failures that the query selects: names are parts of texts, or globs."""
    after = now - _parse_period(query.get("within", ""))
    return [
        one
        for one in failures
        if one.failed_at >= after
        and query.get("queue", "") in ("", one.queue)
        and fits(one.job, query.get("job", ""))
        and fits(one.reason, query.get("reason", ""))
        and query.get("worker", "") in ("", one.worker)
        and query.get("outcome", "") in ("", one.outcome)
        and query.get("trace", "") in ("", one.traceback_hash)
    ]


def _parse_period(text: str) -> float:
    try:
        return float(duration(text)) if text else 1e12
    except ValueError:
        return 1e12


def group_failures(failures: Iterable[Failure]) -> list[dict[str, Any]]:
    """Group failures by queue, kind of job and reason; the most frequent first.

    Numbers in a reason differ from run to run, so digits do not count.
    """
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in failures:  # the newest first
        key = one.queue, one.job, shape(one.reason)
        group = groups.setdefault(
            key,
            {
                "queue": one.queue,
                "job": one.job,
                "reason": one.reason,
                "reason_glob": key[2],
                "failed": 0,
                "last": one.id,
                "last_at": one.failed_at,
                "outcomes": {},
            },
        )
        group["failed"] += 1
        group["first_at"] = one.failed_at
        group["outcomes"][one.outcome] = group["outcomes"].get(one.outcome, 0) + 1
    return sorted(groups.values(), key=lambda group: (-group["failed"], -group["last_at"]))


def shape(reason: str) -> str:
    """Return a glob for a reason in which each number is a `*`."""
    parts: list[str] = []
    for char in reason[:200]:
        if char.isdigit():
            if not parts or parts[-1] != "*":
                parts.append("*")
        else:
            parts.append(f"[{char}]" if char in "*?[" else char)
    return "".join(parts) + ("*" if len(reason) > 200 and parts[-1:] != ["*"] else "")


PAGE = Page("/failures", "failures.html", data, group="/failures")
