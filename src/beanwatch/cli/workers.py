"""`beanwatch workers`: list workers, and send commands to them."""

import json
from collections.abc import Sequence
from typing import Any

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
from beanwatch.config import GLOB
from beanwatch.fleet.workers import forget_dead, restart_all
from beanwatch.store.heartbeats import Worker, make_worker, read_workers
from beanwatch.worker.control.client import CommandResult
from beanwatch.worker.control.messages import Args

REPLY_TIMEOUT = 3.0  # seconds; even a worker that runs a job replies within one second


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


def add_command_options(action: Any) -> Any:
    """Add the options of an action that sends a command to workers and waits for their replies."""
    action = click.option(
        "--timeout",
        type=DURATION,
        default=REPLY_TIMEOUT,
        help="longest wait for the workers' replies (3s)",
    )(action)
    action = click.option(
        "--server",
        metavar="NAME|ADDRESS",
        help="send the command through this beanstalkd (default: the one in each worker's "
        "record); needed if Redis is down",
    )(action)
    return add_read_options(action)


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
@add_command_options
def status(id_glob: str, as_json: bool, **options: Any) -> int:
    """List workers by asking each for its present state, instead of by its record in Redis."""
    outcomes = send_to_workers("status", id_glob, **options)
    live = []
    for outcome in outcomes:
        if outcome.answer and outcome.answer.beat is not None:
            record = json.dumps(outcome.answer.beat).encode()
            live.append(make_worker(outcome.worker, 0.0, record))
    show(live, as_json)
    return report_missing_replies(outcomes)


@command.command("stop")
@click.argument("id_glob")
@add_command_options
def stop(id_glob: str, as_json: bool, **options: Any) -> int:
    """Stop workers: each finishes its job and exits with code 0, so it is not restarted."""
    return report(send_to_workers("stop", id_glob, **options), as_json)


@command.command("restart")
@click.argument("id_glob", default="")
@add_command_options
def restart(
    id_glob: str, as_json: bool, redis: str | None, config_file: str | None, **options: Any
) -> int:
    """Restart workers: each finishes its job and exits with code 10; its supervisor restarts it.

    Without ID_GLOB, restart all workers, as after a deploy. Each worker waits for a random time
    within its --restart-spread, so that they do not all restart at once.
    """
    if id_glob:
        outcomes = send_to_workers(
            "restart", id_glob, redis=redis, config_file=config_file, **options
        )
        return report(outcomes, as_json)
    deploy = query_redis(load_config(config_file), redis, restart_all)
    if as_json:
        print_json(deploy._asdict())
    else:
        print_line(
            f"restart {deploy.version} was requested: {len(deploy.workers)} workers will restart, "
            "each after its job and within its --restart-spread"
        )
    return 0


@command.command("wait")
@click.argument("id_glob")
@click.option(
    "--for", "seconds", type=DURATION, help="reserve jobs again after this time (default: never)"
)
@add_command_options
def wait(id_glob: str, seconds: float | None, as_json: bool, **options: Any) -> int:
    """Let workers finish their job and reserve no more, until `resume` or a restart."""
    if seconds == 0:
        raise click.UsageError(
            "--for: must be more than 0; to end a wait, use beanwatch workers resume"
        )
    return report(send_to_workers("wait", id_glob, Args(seconds), **options), as_json)


@command.command("resume")
@click.argument("id_glob")
@add_command_options
def resume(id_glob: str, as_json: bool, **options: Any) -> int:
    """End the wait of workers, so that they reserve jobs again."""
    return report(send_to_workers("resume", id_glob, **options), as_json)


@command.command("dump")
@click.argument("id_glob")
@add_command_options
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
