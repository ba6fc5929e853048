"""Plans orders to workers."""

from collections.abc import Iterator, Mapping

from beanwatch.config import ConfigError
from beanwatch.config.secrets import read_signing_secret
from beanwatch.fleet.workers import WorkerError, find_target, match_workers, why_cannot
from beanwatch.globs import escape_name
from beanwatch.queues.base import ServerError
from beanwatch.store.heartbeats import read_workers
from beanwatch.web.plans.plan import Context, Plan, PlanError, Progress
from beanwatch.worker.control.client import send_command
from beanwatch.worker.control.messages import Args, Command

REPLY_TIMEOUT = 5.0  # seconds; a worker that runs a job answers within one second
RESTART_TIMEOUT = 70.0  # seconds; a worker first tries for up to 60 s whether it could start again
WORKER_COMMANDS: dict[str, Command] = {
    "worker-wait": "wait",
    "worker-resume": "resume",
    "worker-restart": "restart",
    "worker-stop": "stop",
    "worker-dump": "dump",
}


def plan_worker(action: str, form: Mapping[str, str], context: Context) -> Plan:
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
