"""Overview: is all well? If not, what is wrong first, and what to do."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from beanwatch.fleet.failure_list import group_failures
from beanwatch.fleet.overview import QueueRow
from beanwatch.outcomes import OUTCOMES
from beanwatch.web.problems import Problem, find_problems
from beanwatch.web.snapshot import (
    FLEET,
    OUTCOME_MINUTES,
    OUTCOMES_INTERVAL,
    Snapshot,
    add_known,
)
from beanwatch.web.view import Page, View
from beanwatch.words import count

MAX_PROBLEMS = 25
MAX_QUEUES = 10
MAX_REASONS = 5
BUSY = ("busy", "hung")
GONE = ("ended", "dead")
STUCK = ("dead", "hung", "blocked")
_FAILED = frozenset(outcome.name for outcome in OUTCOMES if outcome.is_failure)


def data(view: View) -> dict[str, Any]:
    """Return the data of the page."""
    now = view.now
    every = find_problems(now)
    problems = [one.tree() for one in every[:MAX_PROBLEMS]]
    rows = [row for row in now.queues if row.server not in now.stale_servers]
    # Those that have ended, and the dead that are no problem, are no part of the fleet.
    workers = [one for one in now.worker_views if one["wrong"] or one["health"] not in GONE]
    has_workers, has_runs = bool(now.workers.read_at), bool(now.outcomes.read_at)
    totals = {
        "queues": len(now.queues) if any(one.read_at for one in now.servers.values()) else None,
        "servers": len(now.server_rows),
        "ready": add_known(row.ready for row in rows),
        "reserved": add_known(row.reserved for row in rows),
        "buried": add_known(row.buried for row in rows),
        "put_rate": add_known(row.put_rate for row in rows),
        "delete_rate": add_known(row.delete_rate for row in rows),
        "oldest_wait": max(
            (row.age for row in rows if row.ready and row.age is not None), default=None
        ),
        "workers": len(workers) if has_workers else None,
        "busy_workers": sum(one["health"] in BUSY for one in workers) if has_workers else None,
        **_drained(rows),
    }
    hour = list(now.outcomes.value.values())
    runs = sum(sum(counts.values()) for counts in hour)
    failed = sum(runs for counts in hour for name, runs in counts.items() if name in _FAILED)
    return {
        "at": now.at,
        "verdict": verdict(now, every, totals),
        "problems": problems,
        "more_problems": max(0, len(every) - MAX_PROBLEMS),
        "totals": totals,
        "runs_last_hour": runs if has_runs else None,
        "failed_last_hour": failed if has_runs else None,
        "runs_trouble": _runs_trouble(now),
        "history": {
            name: now.points(FLEET, name) for name in ("ready", "put_rate", "delete_rate", "age")
        },
        "history_trouble": now.past_trouble,
        "busiest_queues": [
            {**row.tree(), "history": now.points((row.server, row.queue), "ready")}
            for row in sorted(rows, key=lambda row: (-(row.ready or 0), row.queue))[:MAX_QUEUES]
        ],
        "busy": [one for one in workers if one["jobs"] and one["health"] != "dead"][:MAX_QUEUES],
        "failures": [
            group.tree()
            for group in group_failures(
                one for one in now.failures.value if one.failed_at > now.at - OUTCOME_MINUTES * 60
            )[:MAX_REASONS]
        ],
        "stuck_workers": dict(Counter(one["health"] for one in workers if one["health"] in STUCK)),
        "redis_is_off": now.redis_is_off,
        "stale": sorted(now.stale_servers),
        "checked_at": now.checks.read_at,
    }


def _runs_trouble(now: Snapshot) -> str:
    """Return why the numbers of runs are not those of now; "" before the first attempt to read."""
    return now.trouble(now.outcomes, OUTCOMES_INTERVAL) if now.outcomes.tried_at else ""


def _drained(rows: list[QueueRow]) -> dict[str, Any]:
    """Return in how many seconds all queues are empty; `growing` counts those that never will."""
    waiting = [row for row in rows if row.ready]
    drains = [row.drain for row in waiting if row.drain is not None]
    growing = [row for row in waiting if row.drain is None and row.put_rate is not None]
    is_known = len(drains) == len(waiting) and any(row.ready is not None for row in rows)
    seconds = max(drains, default=0.0) if is_known else None
    return {"drained_in": seconds, "growing": len(growing)}


def verdict(now: Snapshot, problems: Sequence[Problem], totals: dict[str, Any]) -> dict[str, Any]:
    """Return the first sentence of the page: its severity, the text, and what to do."""
    if not any(part.tried_at for part in now.servers.values()):
        return {
            "severity": "unknown",
            "text": "Reading the servers for the first time.",
            "look": "",
            "do": "",
            "facts": [],
        }
    if not problems:
        parts = [count(totals["queues"], "queue")]
        if totals["workers"] is not None:
            parts.append(f"{count(totals['workers'], 'worker')}, {totals['busy_workers']} busy")
        return {"severity": "ok", "text": "All is well.", "look": "", "do": "", "facts": parts}
    first = problems[0].tree()
    counts = [
        f"{n} {word}"
        for word in ("critical", "unknown", "warning")
        if (n := sum(one.severity == word for one in problems))
    ]
    return {
        "severity": first["severity"],
        "text": first["text"],
        "look": first["look"],
        "do": first["remedy"],
        "facts": counts,
    }


PAGE = Page("/", "overview.html", data, group="/")
