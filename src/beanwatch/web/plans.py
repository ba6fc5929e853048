"""Plans the actions of the page: what exactly would be done, and to how many."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

from beanwatch.config import Config, ConfigError
from beanwatch.config.secrets import read_signing_secret
from beanwatch.durations import format_duration
from beanwatch.fleet.failure_actions import FailedJob, act_on_failures, group_by_job
from beanwatch.fleet.job_story import find_job_servers
from beanwatch.fleet.queue_actions import (
    FREE_STATES,
    Step,
    Target,
    carry_out,
    find_targets,
    open_actions,
    plan_jobs,
    plan_move,
    plan_pause,
    plan_resume,
)
from beanwatch.fleet.workers import WorkerError, find_target, match_workers, why_cannot
from beanwatch.globs import escape_name
from beanwatch.net.redis_url import open_redis
from beanwatch.queues.base import ServerError
from beanwatch.store.heartbeats import read_workers
from beanwatch.web.choices import read_choice
from beanwatch.web.snapshot import Snapshot
from beanwatch.web.sources import Sources
from beanwatch.words import count
from beanwatch.worker.control.client import send_command
from beanwatch.worker.control.messages import Args, Command

MAX_PAUSE = 30 * 86400  # seconds
REPLY_TIMEOUT = 5.0  # seconds; a worker that runs a job answers within one second
RESTART_TIMEOUT = 70.0  # seconds; a worker first tries for up to 60 s whether it could start again
WORKER_COMMANDS: dict[str, Command] = {
    "worker-wait": "wait",
    "worker-resume": "resume",
    "worker-restart": "restart",
    "worker-stop": "stop",
    "worker-dump": "dump",
}
QUEUE_ACTIONS = ("kick", "delete", "move", "pause", "resume")
FAILURE_ACTIONS = {"retry": "retry", "forget": "delete"}
# The parameters of each action; others are ignored.
PARAMETERS = (
    *("action", "server", "queue", "state", "to", "seconds", "worker"),
    *("id", "job", "reason", "outcome", "within", "trace"),
)


class PlanError(Exception):
    """An action is impossible as it was asked for; the text says why."""


class Progress(NamedTuple):
    """A part of an action that was carried out: how many more are done, and a text about it."""

    done: int
    text: str = ""


class Plan(NamedTuple):
    """An action that was not carried out yet. `run` does it, and yields after each part.

    `title` says what it does, `jobs` to how many (`noun`, in the singular). `warning` says what may
    surprise.
    """

    title: str
    jobs: int
    noun: str
    run: Callable[[], Iterator[Progress]]
    warning: str = ""
    is_dangerous: bool = False


class Context(NamedTuple):
    """The sources of plans. `who` is the person who acts."""

    sources: Sources
    config: Config
    now: Snapshot
    who: str = ""


def make_plan(form: Mapping[str, str], context: Context) -> Plan:
    """Return the plan for a form. Raises PlanError, ServerError and RedisError.

    It asks servers, so it takes up to a few seconds.
    """
    action = form.get("action", "")
    if action in QUEUE_ACTIONS:
        return _plan_queue(action, form, context)
    if action in FAILURE_ACTIONS:
        return _plan_failures(action, form, context)
    if action in WORKER_COMMANDS:
        return _plan_worker(action, form, context)
    raise PlanError("there is no such action")


# -- queues


def _plan_queue(action: str, form: Mapping[str, str], context: Context) -> Plan:
    sources = context.sources
    server, name = sources.server(form.get("server", "")), form.get("queue", "")
    if server is None or not name:
        raise PlanError("the server or the queue is missing")
    targets = find_targets([server], escape_name(name), sources.timeout)
    if not targets:
        raise PlanError(f"{server.node} has no queue {name!r} now")
    steps, warning = _steps(action, form, targets)
    jobs = sum(step.jobs for step in steps)
    run = partial(_carry_out, steps, sources.timeout)
    where = f"{name} on {server.node}"
    if action in ("pause", "resume"):
        text = f" for {format_duration(steps[0].seconds)}" if action == "pause" else ""
        return Plan(f"{action} {where}{text}", len(steps), "queue", run, warning)
    state = form.get("state", "buried") if action != "kick" else "buried"
    to = f" to {form.get('to', '')}" if action == "move" else ""
    title = f"{action} {count(jobs, f'{state} job')} of {where}{to}"
    return Plan(title, jobs, "job", run, warning, is_dangerous=action == "delete")


def _steps(
    action: str, form: Mapping[str, str], targets: Sequence[Target]
) -> tuple[list[Step], str]:
    state = form.get("state", "buried")
    if state not in FREE_STATES:
        raise PlanError(f"the state must be one of {', '.join(FREE_STATES)}")
    if action == "kick":
        return plan_jobs(targets, "kick", ["buried"]), ""
    if action == "delete":
        return plan_jobs(targets, "delete", [state]), "Deleted jobs cannot be restored."
    if action == "move":
        to = form.get("to", "").strip()
        if not to:
            raise PlanError("the queue to move to is missing")
        return plan_move(targets, [state], to), (
            "Each job is put into the other queue before it is deleted here: if this is "
            "interrupted, one job may be in both and run twice. None is lost."
        )
    if action == "resume":
        return plan_resume(targets), ""
    text = form.get("seconds", "3600")
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 0 < seconds <= MAX_PAUSE:
        raise PlanError(f"a pause lasts 1 to {MAX_PAUSE} seconds")
    return plan_pause(targets, seconds), "Running jobs continue; no consumer gets further ones."


def _carry_out(steps: Sequence[Step], timeout: float) -> Iterator[Progress]:
    for step in steps:
        with closing(open_actions(step.target.server, timeout)) as actions:
            for done in carry_out(actions, step):
                yield Progress(done)


# -- failures


def _plan_failures(action: str, form: Mapping[str, str], context: Context) -> Plan:
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


# -- workers


def _plan_worker(action: str, form: Mapping[str, str], context: Context) -> Plan:
    sources, ident = context.sources, form.get("worker", "")
    if sources.redis is None:
        raise PlanError("Redis is off, because redis.url is empty")
    command = WORKER_COMMANDS[action]
    try:
        (worker,) = match_workers(sources.query(read_workers), escape_name(ident))
        if reason := why_cannot(worker, command):
            raise PlanError(reason)
        target = find_target(worker, sources.redis)
        secret = read_signing_secret(context.config)
    except (WorkerError, ConfigError) as error:
        raise PlanError(str(error)) from None
    title = {"dump": f"show the stacks of {ident}"}.get(command, f"tell {ident} to {command}")
    warning = {
        "stop": "It finishes its job and exits; nothing starts it again.",
        "restart": "It finishes its job and exits; its supervisor starts it again.",
        "wait": "It finishes its job and takes no more, until it is resumed or restarted.",
    }.get(command, "")

    def run() -> Iterator[Progress]:
        timeout = RESTART_TIMEOUT if command == "restart" else REPLY_TIMEOUT
        words = f"by {context.who or 'a viewer'} of the live page"
        (result,) = send_command(
            [target], command, Args(), timeout=timeout, secret=secret, words=words
        )
        if result.answer is None:
            raise ServerError(f"{ident}: {result.problem}")
        if not result.ok:
            raise ServerError(f"{ident}: {result.answer.text}")
        yield Progress(1, f"{result.answer.text}\n{result.answer.dump}".rstrip())

    return Plan(title, 1, "worker", run, warning, is_dangerous=command == "stop")
