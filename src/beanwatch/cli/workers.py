"""`beanwatch workers`: list workers, and send commands to them."""

import json
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

import click

from beanwatch.cli.lib.groups import ActionGroup
from beanwatch.cli.lib.options import (
    DURATION,
    config_option,
    json_option,
    load_config,
    redis_option,
)
from beanwatch.cli.lib.output import print_error, print_json, print_line, print_table
from beanwatch.cli.lib.worker_commands import find_workers, query_redis, send_to_workers
from beanwatch.cli.lib.worker_view import worker_table, worker_tree
from beanwatch.fleet.restart_trial import pick_first, wait_for_next_instance
from beanwatch.fleet.workers import find_live, forget_dead, restart_all
from beanwatch.globs import GLOB
from beanwatch.store.heartbeats import Worker, make_worker, read_workers
from beanwatch.words import count
from beanwatch.worker.control.client import CommandResult
from beanwatch.worker.control.messages import Args

RESTART_TIMEOUT = 70.0  # seconds; a worker first tries for up to 60 s whether it could start again
REPLY_TIMEOUT = 3.0  # seconds; even a worker that runs a job replies within one second


F = TypeVar("F", bound=Callable[..., Any])


@click.group("workers", cls=ActionGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List workers, and send commands to one, to some (a glob) or to all ('*') of them.

    \b
    Examples:
      beanwatch workers
      beanwatch workers wait 'web1.*' --for 10m
      beanwatch workers restart                    all workers, after a deploy

    The exit code is 1 if a worker did not reply, or if no worker matches.
    """


def add_read_options(action: Any) -> Any:
    """Add the options that every action has: --config, --redis and --json."""
    return config_option(redis_option("the heartbeats")(json_option(action)))


def add_command_options(timeout: float = REPLY_TIMEOUT) -> Callable[[F], F]:
    """Add the options of an action that sends a command to workers and waits for their replies.

    `timeout` is the default of --timeout, in seconds.
    """

    def add(action: F) -> F:
        action = click.option(
            "--timeout",
            type=DURATION,
            default=timeout,
            help=f"longest wait for the workers' replies ({timeout:g}s)",
        )(action)
        action = click.option(
            "--server",
            metavar="NAME|ADDRESS",
            help="send the command through this beanstalkd (default: the one in each worker's "
            "record); needed if Redis is down",
        )(action)
        return cast("F", add_read_options(action))

    return add


reason_option = click.option(
    "--reason",
    "words",
    default="",
    metavar="TEXT",
    help="why; the worker logs it with your name, and check_worker_heartbeat shows both",
)


@command.command("list")
@click.argument("id_glob", default="*")
@add_read_options
def list_workers(config_file: str | None, redis: str | None, id_glob: str, as_json: bool) -> int:
    """List workers, each with its state, queue, job, the job's running time, and its note."""
    config = load_config(config_file)
    if id_glob == "*":
        show(query_redis(config, redis, read_workers), as_json)
    else:
        show(find_workers(config, redis, id_glob), as_json)
    return 0


@command.command("status")
@click.argument("id_glob", default="*")
@add_command_options()
def status(id_glob: str, as_json: bool, **options: Any) -> int:
    """List workers by asking each for its present state, instead of by its record in Redis."""
    outcomes = send_to_workers("status", id_glob, **options)
    live = []
    for outcome in outcomes:
        if outcome.answer and outcome.answer.beat is None:
            live.append(Worker(outcome.worker, 0.0, None, "its reply has no record"))
        elif outcome.answer:
            record = json.dumps(outcome.answer.beat).encode()
            live.append(make_worker(outcome.worker, 0.0, record))
    # Without any reply, the errors below say all that is known.
    if live or as_json:
        show(live, as_json)
    return report_missing_replies(outcomes)


@command.command("stop")
@click.argument("id_glob")
@reason_option
@add_command_options()
def stop(id_glob: str, as_json: bool, **options: Any) -> int:
    """Stop workers: each finishes its job and exits with code 0, so it is not restarted."""
    return report(send_to_workers("stop", id_glob, **options), as_json)


@command.command("restart")
@click.argument("id_glob", default="")
@reason_option
@click.option(
    "--all-at-once",
    is_flag=True,
    help="do not restart one worker first, and do not wait for it",
)
@add_command_options(RESTART_TIMEOUT)
def restart(
    id_glob: str,
    all_at_once: bool,
    as_json: bool,
    redis: str | None,
    config_file: str | None,
    **options: Any,
) -> int:
    """Restart workers: each finishes its job and exits with code 10; its supervisor restarts it.

    Each worker first tries, in a child process, whether the next instance could import the
    application. If it could not, the worker runs on. Of several workers, one is restarted first.
    Only when its next instance runs, the others are told.

    Without ID_GLOB, restart all workers, as after a deploy. Each worker waits for a random time
    within its --restart-spread, so that they do not all restart at once.
    """
    if options["words"] and not id_glob:
        raise click.UsageError(
            "--reason: needs an ID_GLOB, because Redis passes no text to workers"
        )
    where = {"redis": redis, "config_file": config_file, **options}
    config = load_config(config_file)
    first: list[CommandResult] = []
    if not all_at_once and (not id_glob or GLOB.search(id_glob)):
        every = query_redis(config, redis, read_workers)
        live = find_live((one for one in every if fnmatchcase(one.id, id_glob or "*")), "restart")
        if len(live) > 1:
            first = restart_first(pick_first(live), where)
            if not first[0].ok:
                report(first, as_json)
                others = count(len(live) - 1, "other worker was", "other workers were")
                print_error(f"{others} not told to restart")
                return 1
    if id_glob:
        done = [result.worker for result in first]
        return report([*first, *send_to_workers("restart", id_glob, skip=done, **where)], as_json)
    deploy = query_redis(config, redis, restart_all)
    if as_json:
        print_json(deploy._asdict())
    else:
        workers = count(len(deploy.workers), "worker")
        print_line(
            f"restart {deploy.version} was requested of {workers}: each restarts after its job and "
            "within its --restart-spread, unless it cannot import the application"
        )
    return 0


def restart_first(worker: Worker, where: dict[str, Any]) -> list[CommandResult]:
    """Restart one worker and wait for its next instance. Return one result."""
    (result,) = send_to_workers("restart", worker.id, **where)
    if not result.ok or worker.heartbeat is None:
        return [result]
    beat = worker.heartbeat
    config = load_config(where["config_file"])
    problem = query_redis(
        config, where["redis"], lambda execute: wait_for_next_instance(execute, worker.id, beat)
    )
    if problem:
        result = CommandResult(worker.id, None, f"was told to restart, but {problem}")
    return [result]


@command.command("wait")
@click.argument("id_glob")
@click.option(
    "--for", "seconds", type=DURATION, help="reserve jobs again after this time (default: never)"
)
@reason_option
@add_command_options()
def wait(id_glob: str, seconds: float | None, as_json: bool, **options: Any) -> int:
    """Let workers finish their job and reserve no more, until `resume` or a restart."""
    if seconds == 0:
        raise click.UsageError(
            "--for: must be more than 0; to let waiting workers continue, use "
            "beanwatch workers resume"
        )
    return report(send_to_workers("wait", id_glob, Args(seconds), **options), as_json)


@command.command("resume")
@click.argument("id_glob")
@add_command_options()
def resume(id_glob: str, as_json: bool, **options: Any) -> int:
    """End the wait of workers, so that they reserve jobs again."""
    return report(send_to_workers("resume", id_glob, **options), as_json)


@command.command("dump")
@click.argument("id_glob")
@add_command_options()
def dump(id_glob: str, as_json: bool, **options: Any) -> int:
    """Print the present job of workers, and the stack of each of their threads."""
    outcomes = send_to_workers("dump", id_glob, **options)
    if not as_json:
        for outcome in outcomes:
            if outcome.answer:
                for line in (f"{outcome.worker}: {outcome.answer.text}", *stack_lines(outcome)):
                    print_line(line)
        return report_missing_replies(outcomes)
    return report(outcomes, as_json)


@command.command("forget")
@click.argument("id_glob")
@add_read_options
def forget(config_file: str | None, redis: str | None, id_glob: str, as_json: bool) -> int:
    """Remove the records of dead workers that will not be started again."""
    config = load_config(config_file)
    found = find_workers(config, redis, id_glob)
    if doubt := next((worker.doubt for worker in found if worker.doubt), ""):
        raise click.ClickException(f"it is not known which workers are dead: {doubt}")
    forgotten = query_redis(config, redis, lambda execute: forget_dead(execute, found))
    if as_json:
        print_json({"forgotten": forgotten.dead, "alive": forgotten.running})
    else:
        for worker in forgotten.dead:
            print_line(f"{worker}: removed from the list of workers")
    for worker in forgotten.running:
        print_error(f"cannot remove the record of {worker}: it is still running; stop it first")
    return 1 if forgotten.running and not GLOB.search(id_glob) else 0


def show(workers: Sequence[Worker], as_json: bool) -> None:
    """Print the workers as a table, or all fields of their records as JSON."""
    if as_json:
        print_json([worker_tree(worker) for worker in workers])
    elif workers:
        print_table(worker_table(workers))
    else:
        print_line("Redis has no record of any worker")


def stack_lines(outcome: CommandResult) -> list[str]:
    """Return the lines of the stacks in a worker's reply; [] if it did not reply."""
    return outcome.answer.dump.splitlines() if outcome.answer else []


def report(outcomes: Sequence[CommandResult], as_json: bool) -> int:
    """Print a line for each worker: its reply, or why there is none. Return the exit code."""
    if as_json:
        print_json([outcome_tree(outcome) for outcome in outcomes])
        return exit_code(outcomes)
    for outcome in outcomes:
        if outcome.answer:
            print_line(f"{outcome.worker}: {outcome.answer.text}", err=not outcome.ok)
    return report_missing_replies(outcomes)


def outcome_tree(outcome: CommandResult) -> dict[str, Any]:
    """Return a worker's reply as a tree for JSON."""
    return {
        "worker": outcome.worker,
        "ok": outcome.ok,
        "text": outcome.answer.text if outcome.answer else outcome.problem,
        "dump": outcome.answer.dump if outcome.answer else "",
    }


def report_missing_replies(outcomes: Sequence[CommandResult]) -> int:
    """Print the workers that did not reply, and why. Return the exit code."""
    for outcome in outcomes:
        if outcome.answer is None:
            print_error(f"{outcome.worker}: {outcome.problem}")
    return exit_code(outcomes)


def exit_code(outcomes: Sequence[CommandResult]) -> int:
    """Return 0 if all workers accepted the command, else 1."""
    return 0 if all(outcome.ok for outcome in outcomes) else 1
