"""Plans actions on a queue: those that its system declares."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

from beanwatch.durations import format_duration
from beanwatch.fleet.first_jobs import describe_job, peek_queue
from beanwatch.fleet.queue_actions import (
    Step,
    Target,
    carry_out,
    count_jobs,
    find_targets,
    has_action,
    list_offers,
    open_actions,
    plan_jobs,
    plan_move,
    plan_pause,
    plan_resume,
)
from beanwatch.globs import escape_name
from beanwatch.queues.model import FREE_STATES
from beanwatch.web.plans.plan import Context, Plan, PlanError, Progress
from beanwatch.words import count as count_words

QUEUE_ACTIONS = ("kick", "delete", "move", "pause", "resume", "peek")
MAX_PAUSE = 30 * 86400  # seconds
MAX_PEEKED = 5  # jobs of each state
MAX_BODY = 2_000  # bytes that are shown of a job's body


def plan_queue(action: str, form: Mapping[str, str], context: Context) -> Plan:
    """Return the plan of an action on one queue. Raises PlanError and ServerError."""
    sources = context.sources
    server, name = sources.server(form.get("server", "")), form.get("queue", "")
    if server is None or not name:
        raise PlanError("the server or the queue is missing")
    targets = find_targets([server], escape_name(name), sources.timeout)
    if not targets:
        raise PlanError(f"{server.node} has no queue {name!r} now")
    (target,) = targets
    where = f"{name} on {server.node}"
    state = "buried" if action == "kick" else form.get("state", "buried")
    if state not in FREE_STATES:
        raise PlanError(f"the state must be one of {', '.join(FREE_STATES)}")
    offer = next((one for one in list_offers(server, target.queue) if one.action == action), None)
    if offer is None or (offer.states and state not in offer.states):
        of_jobs = f" {state} jobs" if offer else ""
        raise PlanError(f"{server.system.name} cannot {action}{of_jobs} of the queue {name!r}")
    if action == "peek":
        return _plan_peek(target, where, sources.timeout)
    steps, warning = _steps(action, form, target, state)
    jobs = sum(step.jobs for step in steps)
    run = partial(carry_out_steps, steps, sources.timeout)
    if action in ("pause", "resume"):
        text = f" for {format_duration(steps[0].seconds)}" if action == "pause" else ""
        return Plan(f"{action} {where}{text}", len(steps), "queue", run, warning)
    verb = server.system.failed.kick if action == "kick" else action
    to = f" to {form.get('to', '')}" if action == "move" else ""
    title = f"{verb} {count_jobs(server, state, jobs)} of {where}{to}"
    return Plan(title, jobs, "job", run, warning, is_dangerous=action == "delete")


def _steps(
    action: str, form: Mapping[str, str], target: Target, state: str
) -> tuple[list[Step], str]:
    if action == "kick":
        return plan_jobs([target], "kick", ["buried"]), ""
    if action == "delete":
        return plan_jobs([target], "delete", [state]), "Deleted jobs cannot be restored."
    if action == "move":
        to = form.get("to", "").strip()
        if not to:
            raise PlanError("the queue to move to is missing")
        return plan_move([target], [state], to), (
            "Each job is put into the other queue before it is deleted here: if this is "
            "interrupted, one job may be in both and run twice. None is lost."
        )
    if action == "resume":
        return plan_resume([target]), ""
    text = form.get("seconds", "3600")
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 0 < seconds <= MAX_PAUSE:
        raise PlanError(f"a pause lasts 1 to {MAX_PAUSE} seconds")
    return plan_pause([target], seconds), "Running jobs continue; no consumer gets further ones."


def carry_out_steps(steps: Sequence[Step], timeout: float) -> Iterator[Progress]:
    """Carry out steps one after another. Raises ServerError."""
    for step in steps:
        with closing(open_actions(step.target.server, timeout)) as actions:
            for done in carry_out(actions, step):
                yield Progress(done)


def _plan_peek(target: Target, where: str, timeout: float) -> Plan:
    """Return the plan to look at the first jobs of a queue, which changes them."""
    most = MAX_PEEKED if has_action(target, "list_jobs") else 1
    counts = (getattr(target.queue, state) for state in FREE_STATES)
    jobs = sum(min(most, count) for count in counts if count)

    def run() -> Iterator[Progress]:
        for job in peek_queue(target, timeout, most):
            yield Progress(1, describe_job(job, MAX_BODY))

    warning = f"Looking at a job {target.server.system.peek_effect}."
    return Plan(f"look at {count_words(jobs, 'job')} of {where}", jobs, "job", run, warning)
