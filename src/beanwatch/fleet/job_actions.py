"""Plan an action on one job, which somebody named by its id."""

from collections.abc import Sequence
from typing import NamedTuple

from beanwatch.fleet.job_story import JobServer, Story
from beanwatch.fleet.queue_actions import Step, Target, require_action
from beanwatch.queues.model import QueueState

STATE = "buried"  # `kick_jobs` and `delete_jobs` leave jobs in other states alone


class RefusedError(Exception):
    """The action cannot be done with this job; the text says why."""


class JobStep(NamedTuple):
    """A step that acts on one job. `name` tells people which: `buried job 7 (email.send u-7)`."""

    step: Step
    name: str

    def __str__(self) -> str:
        return f"{self.step.target}: {self.name}"


def plan_job(action: str, stories: Sequence[Story], places: Sequence[JobServer]) -> JobStep:
    """Plan to `kick` or `delete` the job that these stories tell of.

    Raises RefusedError if there is not exactly one such job on the servers in `places`, or if it is
    not buried; UnsupportedError if its queue system has no such action.
    """
    there = {(now.server, now.job_id): (story, now) for story in stories for now in story.nows}
    found = [(story, now, now.job) for story, now in there.values() if now.job]
    if not found:
        states = ", ".join(dict.fromkeys(now.state for _, now in there.values()))
        raise RefusedError(states or "its queue system finds no job by such an id")
    if len(found) > 1:
        several = ", ".join(f"{now.job_id} on {now.server}" for _, now, _ in found)
        raise RefusedError(
            f"several jobs have this id ({several}): name one by its number, with --server"
        )
    ((story, now, job),) = found
    if job.state != STATE:
        raise RefusedError(f"it is {job.state} in {job.queue}, not {STATE}")
    place = next(place for place in places if str(place.server) == now.server)
    target = Target(place.server, place.instance, QueueState(job.queue))
    require_action([target], f"{action}_jobs")
    kind = story.entries[-1].job if story.entries else story.job
    names = " ".join(filter(None, (kind, story.id)))
    name = f"{place.server.system.failed.noun} {job.id}" + (f" ({names})" if names else "")
    return JobStep(Step(target, action, 1, STATE, (job.id,)), name)
