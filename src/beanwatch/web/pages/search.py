"""Search: queues and workers by a part of the name, jobs by id."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from beanwatch.globs import fits
from beanwatch.web.look_ups import LookUp
from beanwatch.web.pages.job import FoundJob, find_job
from beanwatch.web.snapshot import Snapshot
from beanwatch.web.sources import Sources
from beanwatch.web.view import Page, View

MAX_HITS = 50  # of each kind
_JOB_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: q."""
    now, wanted = view.now, view.text("q").strip()
    queues = [row for row in now.queues if wanted and fits(row.queue, wanted)]
    workers = [one.id for one in now.workers.value if wanted and fits(one.id, wanted)]
    found: FoundJob = view.found.value or FoundJob()
    stories = [*found.stories, *found.kept]
    return {
        "at": now.at,
        "q": wanted,
        "queues": [(row.server, row.queue) for row in queues[:MAX_HITS]],
        "workers": workers[:MAX_HITS],
        "jobs": [{"id": one["id"] or wanted, "job": one["job"] or _name(one)} for one in stories],
        "more": max(0, len(queues) - MAX_HITS) + max(0, len(workers) - MAX_HITS),
        "error": view.found.error,
        "not_searched": list(_not_searched(now)),
    }


def _not_searched(now: Snapshot) -> Iterator[str]:
    """Yield what has never been read, and why."""
    for server, part in now.servers.items():
        if not part.value.queues_at:
            yield f"the queues of {server}: {now.queues_trouble(server)}"
    if not now.workers.read_at and not now.redis_is_off:
        yield f"the workers: {now.trouble(now.workers)}"


def _name(story: dict[str, Any]) -> str:
    return str(story["runs"][-1]["job"]) if story.get("runs") else ""


def look_up(view: View, sources: Sources) -> LookUp | None:
    """Return how to look for a job, if the text can be the id of one."""
    wanted = view.text("q").strip()
    if not _JOB_ID.fullmatch(wanted):
        return None
    return LookUp(("job", wanted), partial(find_job, sources, wanted))


PAGE = Page("/search", "search.html", data, look_up)
