"""A job: its recorded runs, its follow-ups, and where it is now."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from beanwatch.fleet.job_story import Story, StoryReader, find_job_servers
from beanwatch.fleet.server_failures import locate_everywhere
from beanwatch.net.redis_url import Execute, RedisError
from beanwatch.queues.base import ServerError
from beanwatch.store.heartbeats import read_workers
from beanwatch.web.look_ups import LookUp
from beanwatch.web.pages.queue import job_tree
from beanwatch.web.sources import Sources
from beanwatch.web.view import Page, View

MAX_ID = 200  # characters


class FoundJob(NamedTuple):
    """The facts about a job. `kept` are the jobs with this id on servers that find them by it.

    `troubles` say why servers could not be asked.
    """

    stories: Sequence[dict[str, Any]] = ()
    troubles: Sequence[str] = ()
    kept: Sequence[dict[str, Any]] = ()


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: id."""
    ident = view.text("id")
    stories, troubles, kept = view.found.value or FoundJob()
    return {
        "at": view.now.at,
        "id": ident,
        "stories": stories,
        "kept": kept,
        "troubles": troubles,
        "error": view.found.error,
        "failures": [
            one.tree() for one in view.now.failures.value if ident in (one.uuid, one.job_id)
        ][:20],
        "ledger": view.config.worker.ledger,
    }


def look_up(view: View, sources: Sources) -> LookUp | None:
    """Return how to find out what happened to the job."""
    ident = view.text("id")[:MAX_ID]
    return LookUp(("job", ident), partial(find_job, sources, ident)) if ident else None


def find_job(sources: Sources, ident: str) -> FoundJob:
    """Return what is known about a job. Raises RedisError if Redis fails and no server has it."""
    troubles: list[str] = []
    kept = []
    for server, found in locate_everywhere(sources.servers, ident, sources.timeout):
        if isinstance(found, ServerError):
            troubles.append(str(found))
        elif found is not None:
            kind = found.facts.get(server.system.job_fact, "")
            where = {"server": server.node, "system": server.system.name, "queue": found.queue}
            kept.append({**where, "job": kind, **job_tree(found)})
    if sources.redis is None:
        return FoundJob((), troubles, kept)
    places = find_job_servers(sources.servers, sources.timeout)

    def read(execute: Execute) -> list[Story]:
        reader = StoryReader(execute, places, read_workers(execute), sources.timeout)
        stories = reader.read(ident)
        troubles.extend(reader.troubles(stories))
        troubles.extend(f"the record of one run cannot be read: {one}" for one in reader.rejected)
        return stories

    try:
        stories = sources.query(read)
    except RedisError as error:
        if not kept:
            raise
        return FoundJob((), [*troubles, str(error)], kept)
    return FoundJob([{**one.tree(), "job": one.job} for one in stories], troubles, kept)


PAGE = Page("/job", "job.html", data, look_up)
