"""A job: its recorded runs, its follow-ups, and where it is now."""

from functools import partial
from typing import Any

from beanwatch.fleet.job_story import Story, StoryReader, find_job_servers
from beanwatch.net.redis_url import Execute
from beanwatch.store.heartbeats import read_workers
from beanwatch.web.look_ups import LookUp
from beanwatch.web.sources import Sources
from beanwatch.web.view import Page, View

MAX_ID = 200  # characters


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: id."""
    ident = view.text("id")
    stories, troubles = view.found.value or ([], [])
    return {
        "at": view.now.at,
        "id": ident,
        "stories": stories,
        "troubles": troubles,
        "error": view.found.error,
        "failures": [
            one._asdict() for one in view.now.failures.value if ident in (one.uuid, one.job_id)
        ][:20],
        "ledger": view.config.worker.ledger,
    }


def look_up(view: View, sources: Sources) -> LookUp | None:
    """Return how to find out what happened to the job."""
    ident = view.text("id")[:MAX_ID]
    return LookUp(("job", ident), partial(find_story, sources, ident)) if ident else None


def find_story(sources: Sources, ident: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what is known about a job, and why servers could not be asked.

    Raises RedisError.
    """
    places = find_job_servers(sources.servers, sources.timeout)

    def read(execute: Execute) -> tuple[list[Story], list[str]]:
        reader = StoryReader(execute, places, read_workers(execute), sources.timeout)
        stories = reader.read(ident)
        rejected = [f"the record of one run cannot be read: {one}" for one in reader.rejected]
        return stories, [one.trouble for one in places if one.trouble] + rejected

    stories, troubles = sources.query(read)
    return [{**one.tree(), "job": one.job} for one in stories], troubles


PAGE = Page("/job", "job.html", data, look_up)
