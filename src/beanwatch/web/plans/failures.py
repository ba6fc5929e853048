"""Plans actions on failed jobs: those that workers recorded, and those that servers keep."""

from collections.abc import Iterator, Mapping, Sequence

from beanwatch.fleet.failure_actions import FailedJob, act_on_failures, group_by_job
from beanwatch.fleet.job_story import find_job_servers
from beanwatch.fleet.queue_actions import find_targets
from beanwatch.fleet.server_failures import MAX_LISTED, ServerFailures, plan_chosen, read_all
from beanwatch.net.redis_url import open_redis
from beanwatch.queues.base import ServerError
from beanwatch.queues.servers import Server
from beanwatch.web.choices import read_choice
from beanwatch.web.plans.plan import Context, Plan, PlanError, Progress
from beanwatch.web.plans.queues import carry_out_steps
from beanwatch.web.sources import NO_REDIS, Sources
from beanwatch.words import count

FAILURE_ACTIONS = {"retry": "retry", "forget": "delete", "look": "look"}
WARNINGS = {
    "retry": "A job that is still buried is kicked; one that is gone is put again as it was "
    "recorded, unless a later run did it. All records of the job are removed. A job that its own "
    "server keeps as failed is queued again.",
    "delete": "This deletes the records, and each job that is still buried or kept as failed.",
}


def plan_failures(action: str, form: Mapping[str, str], context: Context) -> Plan:
    """Return the plan of an action on failed jobs. Raises PlanError and ServerError."""
    sources, verb = context.sources, FAILURE_ACTIONS[action]
    if verb == "look":
        return _plan_look(form.get("server", ""), context)
    choice = read_choice(form)
    if form.get("within") and choice.within is None:
        raise PlanError(f"within is not a duration: {form['within']!r}")
    jobs = group_by_job(choice.choose(context.now.failures.value, context.now.at))
    found = []
    if not (choice.id and jobs):  # a run that a worker recorded has an id that no server has
        found = read_all(sources.servers, sources.timeout)
        server = sources.failed_jobs.servers.get(form.get("server", ""))
        if server is not None and server.system.peek_effect:
            found.append((server, _recall(server, sources)))
    kept = [
        one
        for _, result in found
        if not isinstance(result, ServerError)
        for one in choice.choose(result.failures, context.now.at)
    ]
    steps, notes = plan_chosen(found, kept, "kick" if verb == "retry" else "delete")
    for server, result in found:
        if isinstance(result, ServerError):
            notes.append(str(result))
        elif result.left_out:
            more = count(result.left_out, f"more {server.system.failed.noun}")
            notes.append(f"{more} of {server.node} not listed, and left out: repeat this for them")
    if sources.redis is not None and (trouble := context.now.trouble(context.now.failures)):
        notes.append(f"The list of failed runs that workers recorded is old: {trouble}")
    planned = len(jobs) + sum(step.jobs for step in steps)
    what = {
        name: form[name]
        for name in ("queue", "job", "reason", "outcome", "server", "worker", "trace", "within")
        if form.get(name)
    }
    chosen = ", ".join(f"{name} {value}" for name, value in what.items())
    title = f"{verb} {count(planned, 'failed job')}" + (f" ({chosen})" if chosen else "")

    def run() -> Iterator[Progress]:
        if jobs:
            yield from _act_on_failures(verb, jobs, sources)
        yield from carry_out_steps(steps, sources.timeout)

    warning = " ".join((WARNINGS[verb], *(f"{note}." for note in notes)))
    return Plan(title, planned, "job", run, warning, is_dangerous=verb == "delete")


def _recall(server: Server, sources: Sources) -> ServerFailures | ServerError:
    """Return the failed jobs of a server that were looked at: a plan must not change them again.

    Return an error if nobody has looked, or if there are more or fewer by now. Raises ServerError.
    """
    noun, part = server.system.failed.noun, sources.failed_jobs.parts[server.node]
    if not part.read_at:
        return ServerError(f"Nobody has looked at the {noun}s of {server.node}: do so first")
    now = {one.name: one.queue.buried for one in find_targets([server], "*", sources.timeout)}
    for target, _, _ in part.value.queues:
        if now.get(target.name) != target.queue.buried:
            return ServerError(
                f"{target} has more or fewer {noun}s than when somebody looked: look again"
            )
    return part.value


def _plan_look(node: str, context: Context) -> Plan:
    """Return the plan to read failed jobs that looking at changes; Failures then shows them."""
    jobs = context.sources.failed_jobs
    server = jobs.servers.get(node)
    if server is None:
        raise PlanError(f"no server {node!r} keeps failed jobs that can be listed")
    rows = [row for row in context.now.queues if row.server == node and row.buried is not None]
    most = min(MAX_LISTED, sum(row.buried or 0 for row in rows)) if rows else MAX_LISTED

    def run() -> Iterator[Progress]:
        part = jobs.read_asked(node)
        if part.error:
            raise ServerError(part.error)
        yield Progress(len(part.value.details), "The page Failures shows them now.")

    effect = server.system.peek_effect
    warning = f"Looking at a job {effect}." if effect else ""
    noun = server.system.failed.noun
    return Plan(f"look at up to {count(most, noun)} of {node}", most, noun, run, warning)


def _act_on_failures(verb: str, jobs: Sequence[FailedJob], sources: Sources) -> Iterator[Progress]:
    if sources.redis is None:
        raise PlanError(NO_REDIS)
    places = find_job_servers(sources.servers, sources.timeout)
    with open_redis(sources.redis, sources.timeout) as client:
        for one in act_on_failures(client.execute, places, verb, jobs, sources.timeout):
            run = one.job.last
            yield Progress(
                int(one.has_changed), f"{run.queue} {run.uuid or run.job_id}: {one.text}"
            )
