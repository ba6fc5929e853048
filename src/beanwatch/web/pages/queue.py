"""A queue: its consumers and why, its jobs, the workers on it, its first jobs and failures."""

from functools import partial
from typing import Any

from beanwatch.fleet.failure_list import group_failures
from beanwatch.fleet.first_jobs import peek_queue
from beanwatch.fleet.queue_actions import Target, find_targets, has_action, list_offers
from beanwatch.globs import escape_name
from beanwatch.queues.base import Job
from beanwatch.queues.servers import Server
from beanwatch.web.history import MEASURES
from beanwatch.web.look_ups import LookUp
from beanwatch.web.pages.workers import works_on
from beanwatch.web.problems import find_problems
from beanwatch.web.sources import Sources
from beanwatch.web.view import NotFoundError, NotReadError, Page, View

MAX_JOBS = 5  # of each state, where the server can list them
MAX_BODY = 2_000  # bytes
MAX_WORKERS = 50
_STATES = {
    "ok": "jobs are taken as they come",
    "paused": "paused: no consumer gets jobs",
    "draining": "the server refuses new jobs",
    "saturated": "all consumers are busy, and the queue does not get shorter",
    "stalled": "jobs wait, but none of the connected consumers takes one",
    "no_consumer": "jobs wait, and no consumer is connected",
    None: "not known: this system does not tell enough about its consumers",
}


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: server, name. Raises NotFoundError."""
    now, server, name = view.now, view.text("server"), view.text("name")
    rows = [row for row in now.queues if (row.server, row.queue) == (server, name)]
    if not rows:
        if server not in now.servers:
            raise NotFoundError(f"no server is called {server!r}")
        if trouble := now.queues_trouble(server):
            raise NotReadError(f"nobody knows whether {server} has a queue {name!r}: {trouble}")
        raise NotFoundError(f"{server} has no queue {name!r} now")
    workers, system = now.worker_views, now.configured[server].system
    failures = [one for one in now.failures.value if one.queue == name]
    return {
        "at": now.at,
        "queue": rows[0].tree(),
        "actions": [one._asdict() for one in list_offers(now.configured[server], rows[0])],
        "peek_effect": system.peek_effect,
        "consumers": _STATES.get(rows[0].state, rows[0].state),
        "read_at": now.servers[server].value.queues_at,
        "trouble": now.queues_trouble(server),
        "problems": [
            one.tree()
            for one in find_problems(now)
            if one.queue == name and one.server in ("", server)
        ],
        "history": {one: now.points((server, name), one) for one in MEASURES},
        "workers": [one for one in workers if one["health"] != "ended" and works_on(one, name)][
            :MAX_WORKERS
        ],
        "workers_trouble": "" if now.redis_is_off else now.trouble(now.workers),
        "jobs": view.found.value or [],
        "jobs_error": view.found.error,
        "failures": [group.tree() for group in group_failures(failures)[:10]],
        "failed": len(failures),
    }


def look_up(view: View, sources: Sources) -> LookUp | None:
    """Return how to read the first jobs of the queue."""
    server = sources.server(view.text("server"))
    name = view.text("name")
    if server is None or not name or server.system.peek_effect:
        return None
    return LookUp(("jobs", server.node, name), partial(_peek, server, name, sources.timeout))


def _peek(server: Server, name: str, timeout: float) -> list[dict[str, Any]]:
    targets = find_targets([server], escape_name(name), timeout)
    return [tree for target in targets[:1] for tree in _first_jobs(target, timeout)]


def _first_jobs(target: Target, timeout: float) -> list[dict[str, Any]]:
    jobs = MAX_JOBS if has_action(target, "list_jobs") else 1
    if not has_action(target, "list_jobs") and not has_action(target, "peek"):
        return []
    return [job_tree(job) for job in peek_queue(target, timeout, jobs)]


def job_tree(job: Job) -> dict[str, Any]:
    """Return a job on a server as objects that JSON can hold; its body is cut."""
    body = job.body
    return {
        "id": job.id,
        "state": job.state,
        "age": job.age,
        "attempts": job.attempts,
        "kicks": job.kicks,
        "ready_in": job.ready_in,
        "failed_at": job.failed_at,
        "error": str(job.facts.get("error", ""))[:MAX_BODY],
        "body": None if body is None else body[:MAX_BODY].decode("utf-8", "backslashreplace"),
        "body_size": None if body is None else len(body),
    }


PAGE = Page("/queue", "queue.html", data, look_up, group="/queues")
