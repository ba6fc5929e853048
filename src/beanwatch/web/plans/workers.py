"""Plans orders to workers."""

from collections.abc import Iterator, Mapping

from beanwatch.config import ConfigError
from beanwatch.config.secrets import read_signing_secret
from beanwatch.fleet.workers import WorkerError, find_target, match_workers, why_cannot
from beanwatch.globs import escape_name
from beanwatch.queues.base import ServerError
from beanwatch.store.heartbeats import read_workers
from beanwatch.web.plans.plan import Context, Plan, PlanError, Progress
from beanwatch.web.sources import NO_REDIS
from beanwatch.words import count
from beanwatch.worker.control.client import send_command
from beanwatch.worker.control.messages import Args, Command

REPLY_TIMEOUT = 5.0  # seconds; a worker that runs a job answers within one second
RESTART_TIMEOUT = 70.0  # seconds; a worker first tries for up to 60 s whether it could start again
WARNINGS = {
    "stop": "It finishes its job and exits; nothing starts it again.",
    "restart": "It finishes its job and exits; its supervisor starts it again.",
    "wait": "It finishes its job and takes no more, until it is resumed or restarted.",
}
AT_ONCE = 20  # workers that get a command together; between two groups it can be stopped
WORKER_COMMANDS: dict[str, Command] = {
    "worker-wait": "wait",
    "worker-resume": "resume",
    "worker-restart": "restart",
    "worker-stop": "stop",
    "worker-dump": "dump",
}


def plan_worker(action: str, form: Mapping[str, str], context: Context) -> Plan:
    """Return the plan of an order to the worker `worker`, or to all that match the glob `workers`.

    Raises PlanError and RedisError.
    """
    sources, ident, glob = context.sources, form.get("worker", ""), form.get("workers", "")
    if sources.redis is None:
        raise PlanError(NO_REDIS)
    command = WORKER_COMMANDS[action]
    try:
        found = match_workers(sources.query(read_workers), glob or escape_name(ident))
        refused = {one.id: why for one in found if (why := why_cannot(one, command))}
        able = [one for one in found if one.id not in refused]
        if not able:
            raise PlanError("; ".join(sorted(set(refused.values()))))
        targets = [find_target(one, sources.redis) for one in able]
        secret = read_signing_secret(context.config)
    except (WorkerError, ConfigError) as error:
        raise PlanError(str(error)) from None
    names = tuple(target.worker for target in targets)
    who = count(len(names), "worker") if glob else ident
    title = f"show the stacks of {who}" if command == "dump" else f"tell {who} to {command}"
    warnings = [WARNINGS.get(command, "")]
    if refused:
        warnings.append(f"Left out: {'; '.join(sorted(set(refused.values())))}.")

    def run() -> Iterator[Progress]:
        timeout = RESTART_TIMEOUT if command == "restart" else REPLY_TIMEOUT
        words = f"by {context.who or 'a viewer'} of the live page"
        problems = []
        for start in range(0, len(targets), AT_ONCE):
            for result in send_command(
                targets[start : start + AT_ONCE],
                command,
                Args(),
                timeout=timeout,
                secret=secret,
                words=words,
            ):
                if result.answer is None or not result.ok:
                    text = result.answer.text if result.answer else result.problem
                    problems.append(f"{result.worker}: {text}")
                    yield Progress(0, problems[-1])
                    continue
                text = f"{result.answer.text}\n{result.answer.dump}".rstrip()
                yield Progress(1, f"{result.worker}: {text}" if glob else text)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise ServerError(problems[0] + more)

    is_dangerous = command == "stop" or len(targets) > 1
    return Plan(
        title,
        len(targets),
        "worker",
        run,
        " ".join(filter(None, warnings)),
        is_dangerous=is_dangerous,
        names=names if glob else (),
    )
