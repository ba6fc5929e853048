"""Plans the actions of the page: what exactly would be done, and to how many."""

from collections.abc import Callable, Mapping

from beanwatch.web.plans.failures import FAILURE_ACTIONS, plan_failures
from beanwatch.web.plans.plan import Context, Plan, PlanError
from beanwatch.web.plans.queues import QUEUE_ACTIONS, plan_queue
from beanwatch.web.plans.workers import WORKER_COMMANDS, plan_worker

# The parameters of each action; others are ignored.
PARAMETERS = (
    *("action", "server", "queue", "state", "to", "seconds", "worker", "workers"),
    *("id", "job", "reason", "outcome", "within", "trace", "like"),
)
PLANNERS: dict[str, Callable[[str, Mapping[str, str], Context], Plan]] = {
    **dict.fromkeys(QUEUE_ACTIONS, plan_queue),
    **dict.fromkeys(FAILURE_ACTIONS, plan_failures),
    **dict.fromkeys(WORKER_COMMANDS, plan_worker),
}


def make_plan(form: Mapping[str, str], context: Context) -> Plan:
    """Return the plan for a form. Raises PlanError, ServerError and RedisError.

    It asks servers, so it takes up to a few seconds.
    """
    action = form.get("action", "")
    if action not in PLANNERS:
        raise PlanError("there is no such action")
    return PLANNERS[action](action, form, context)
