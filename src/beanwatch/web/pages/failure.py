"""A failed run: its reason, its traceback, the body of its job, and its other attempts."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from beanwatch.fleet.failure_list import generalize
from beanwatch.fleet.server_failures import read_whole
from beanwatch.store.failures import Failure, FailureDetail, read_detail
from beanwatch.web.look_ups import LookUp
from beanwatch.web.sources import Sources
from beanwatch.web.view import NotFoundError, NotReadError, Page, View

MAX_SHOWN_BODY = 16_384  # bytes


class Details(NamedTuple):
    """The body and the error of a failed run. `kept` is the run, if a server keeps its job.

    `unread` says which servers may keep it, but were not read.
    """

    detail: FailureDetail | None
    kept: Failure | None = None
    unread: Sequence[str] = ()


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: id. Raises NotFoundError."""
    now, ident = view.now, view.text("id")
    detail, kept, unread = view.found.value or Details(None)
    found = kept or next((one for one in now.failures.value if one.id == ident), None)
    if found is None:
        troubles = [view.found.error, *unread]
        troubles.append("" if now.redis_is_off else now.trouble(now.failures))
        if any(troubles):
            why = "; ".join(filter(None, troubles))
            raise NotReadError(f"nobody knows whether this failed run is recorded: {why}")
        raise NotFoundError("this failed run is not recorded any more")
    same_job = [
        one.tree()
        for one in now.failures.value
        if one.id != ident
        and (one.server, one.job_id, one.queue) == (found.server, found.job_id, found.queue)
    ]
    return {
        "at": now.at,
        "failure": found.tree(),
        "reason_glob": generalize(found.reason),
        "body": detail and detail.body[:MAX_SHOWN_BODY].decode("utf-8", "backslashreplace"),
        "traceback": detail and detail.traceback,
        "detail_error": view.found.error,
        "other_attempts": same_job[:50],
    }


def look_up(view: View, sources: Sources) -> LookUp | None:
    """Return how to read the body and the traceback."""
    ident = view.text("id")
    return LookUp(("failure", ident), partial(_read, sources, ident)) if ident else None


def _read(sources: Sources, ident: str) -> Details:
    if sources.redis is not None:
        detail = sources.query(lambda execute: read_detail(execute, ident))
        if detail is not None:
            return Details(detail)
    jobs = sources.failed_jobs
    found = jobs.find(ident)
    if found is None and jobs.servers:
        jobs.read()
        found = jobs.find(ident)
    if found is None:
        return Details(None, None, jobs.unread())
    listed, failure, detail = found
    return Details(read_whole(listed.target, failure, sources.timeout) or detail, failure)


PAGE = Page("/failure", "failure.html", data, look_up, group="/failures")
