"""Plans actions on failed jobs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from beanwatch.fleet.failure_actions import FailedJob, act_on_failures, group_by_job
from beanwatch.fleet.job_story import find_job_servers
from beanwatch.net.redis_url import open_redis
from beanwatch.web.choices import read_choice
from beanwatch.web.plans.plan import Context, Plan, PlanError, Progress
from beanwatch.web.sources import Sources
from beanwatch.words import count

FAILURE_ACTIONS = {"retry": "retry", "forget": "delete"}


def plan_failures(action: str, form: Mapping[str, str], context: Context) -> Plan:
    found = read_choice(form).choose(context.now.failures.value, context.now.at)
    jobs = group_by_job(found)
    verb = FAILURE_ACTIONS[action]
    what = {name: form[name] for name in ("queue", "job", "reason", "outcome") if form.get(name)}
    chosen = ", ".join(f"{name} {value}" for name, value in what.items())
    title = f"{verb} {count(len(jobs), 'failed job')}" + (f" ({chosen})" if chosen else "")
    warning = (
        "A job that is still buried is kicked; one that is gone is put again, as it was recorded."
        if verb == "retry"
        else "The records go, and each job that is still buried is deleted."
    )
    run = partial(_act_on_failures, verb, jobs, context.sources)
    return Plan(title, len(jobs), "job", run, warning, is_dangerous=verb == "delete")


def _act_on_failures(verb: str, jobs: Sequence[FailedJob], sources: Sources) -> Iterator[Progress]:
    if sources.redis is None:
        raise PlanError("Redis is off, because redis.url is empty")
    places = find_job_servers(sources.servers, sources.timeout)
    with open_redis(sources.redis, sources.timeout) as client:
        for one in act_on_failures(client.execute, places, verb, jobs, sources.timeout):
            run = one.job.last
            yield Progress(
                int(one.has_changed), f"{run.queue} {run.uuid or run.job_id}: {one.text}"
            )
