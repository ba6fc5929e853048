"""`beanwatch workers`: see the workers, and tell them what to do."""

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
from beanwatch.cli.lib.output import complain, print_json, print_table, printable
from beanwatch.cli.lib.worker_view import worker_table, worker_tree
from beanwatch.cli.lib.workers_reach import ask_redis, find_workers, order
from beanwatch.config import GLOB
from beanwatch.fleet.workers import forget_dead, restart_all
from beanwatch.store.heartbeats import Worker, make_worker, read_workers
from beanwatch.worker.control.client import CommandResult
from beanwatch.worker.control.messages import Args

ANSWER_TIMEOUT = 3.0  # seconds; a worker that runs a job answers within one


@click.group("workers", cls=ActionGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """See the workers, and tell one, some (a glob) or all ('*') of them what to do.

    \b
    Examples:
      beanwatch workers
      beanwatch workers wait 'web1.*' --for 10m
      beanwatch workers restart                    all, one after the other, after a deploy

    The exit code is 1 if a worker did not answer, or no worker matches.
    """


def reading(action: Any) -> Any:
    """The options of every action."""
    return config_option(redis_option("the heartbeats")(json_option(action)))


def ordering(action: Any) -> Any:
    """The options of an action that the workers themselves answer."""
    action = click.option(
        "--timeout", type=DURATION, default=ANSWER_TIMEOUT, help="for the answers (3s)"
    )(action)
    action = click.option(
        "--server",
        metavar="NAME|ADDRESS",
        help="where they take orders, if not where their records say, or Redis is down",
    )(action)
    return reading(action)


@command.command("list")
@click.argument("id_glob", default="*")
@reading
def list_workers(config_file: str | None, redis: str | None, id_glob: str, as_json: bool) -> int:
    """One line a worker: its state, its job and for how long, its note."""
    config = load_config(config_file)
    if id_glob == "*":
        show(ask_redis(config, redis, read_workers), as_json)
    else:
        show(find_workers(config, redis, id_glob), as_json)
    return 0


@command.command("status")
@click.argument("id_glob", default="*")
@ordering
def status(id_glob: str, as_json: bool, **options: Any) -> int:
    """List workers as they answer now, and not by their records in Redis."""
    outcomes = order("status", id_glob, **options)
    live = []
    for outcome in outcomes:
        if outcome.answer and outcome.answer.beat is not None:
            record = json.dumps(outcome.answer.beat).encode()
            live.append(make_worker(outcome.worker, 0.0, record))
    show(live, as_json)
    return report_silence(outcomes)


@command.command("stop")
@click.argument("id_glob")
@ordering
def stop(id_glob: str, as_json: bool, **options: Any) -> int:
    """Let workers finish their job, exit with 0 and stay down."""
    return report(order("stop", id_glob, **options), as_json)


@command.command("restart")
@click.argument("id_glob", default="")
@ordering
def restart(
    id_glob: str, as_json: bool, redis: str | None, config_file: str | None, **options: Any
) -> int:
    """Let workers finish their job and exit with 10; their supervisor starts them anew.

    Without an ID all workers restart, each at a moment within its --restart-spread: for a deploy.
    """
    if id_glob:
        outcomes = order("restart", id_glob, redis=redis, config_file=config_file, **options)
        return report(outcomes, as_json)
    deploy = ask_redis(load_config(config_file), redis, restart_all)
    if as_json:
        print_json(deploy._asdict())
    else:
        click.echo(
            f"version {deploy.version}: {len(deploy.workers)} workers restart, each after its job "
            "and within its --restart-spread"
        )
    return 0


@command.command("wait")
@click.argument("id_glob")
@click.option("--for", "seconds", type=DURATION, help="then take jobs again (default: at resume)")
@ordering
def wait(id_glob: str, seconds: float | None, as_json: bool, **options: Any) -> int:
    """Let workers finish their job and take no more, until told to resume or restarted."""
    if seconds == 0:
        raise click.UsageError("--for: more than 0; to end a wait: beanwatch workers resume")
    return report(order("wait", id_glob, Args(seconds), **options), as_json)


@command.command("resume")
@click.argument("id_glob")
@ordering
def resume(id_glob: str, as_json: bool, **options: Any) -> int:
    """Let workers take jobs again."""
    return report(order("resume", id_glob, **options), as_json)


@command.command("dump")
@click.argument("id_glob")
@ordering
def dump(id_glob: str, as_json: bool, **options: Any) -> int:
    """Print the current job of a worker, and the stack of each of its threads."""
    outcomes = order("dump", id_glob, **options)
    if not as_json:
        for outcome in outcomes:
            if outcome.answer:
                for line in (f"{outcome.worker}: {outcome.answer.text}", *dumped(outcome)):
                    click.echo(printable(line))
        return report_silence(outcomes)
    return report(outcomes, as_json)


@command.command("forget")
@click.argument("id_glob")
@reading
def forget(config_file: str | None, redis: str | None, id_glob: str, as_json: bool) -> int:
    """Remove the records of dead workers that will not come back."""
    config = load_config(config_file)
    found = find_workers(config, redis, id_glob)
    forgotten = ask_redis(config, redis, lambda execute: forget_dead(execute, found))
    if as_json:
        print_json({"forgotten": forgotten.dead, "alive": forgotten.running})
    else:
        for worker in forgotten.dead:
            click.echo(f"{printable(worker)}: removed from the list of workers")
    for worker in forgotten.running:
        complain(f"{worker} is still running; stop it first")
    return 1 if forgotten.running and not GLOB.search(id_glob) else 0


def show(workers: Sequence[Worker], as_json: bool) -> None:
    """The workers as a table, or all that is known of them as JSON."""
    if as_json:
        print_json([worker_tree(worker) for worker in workers])
    elif workers:
        print_table(worker_table(workers))
    else:
        click.echo("no workers have been seen")


def dumped(outcome: CommandResult) -> list[str]:
    """The lines of the stacks that a worker sent."""
    return outcome.answer.dump.splitlines() if outcome.answer else []


def report(outcomes: Sequence[CommandResult], as_json: bool) -> int:
    """One line a worker: its answer, or why there is none. 1 if one does not obey."""
    if as_json:
        print_json([outcome_tree(outcome) for outcome in outcomes])
        return exit_code(outcomes)
    for outcome in outcomes:
        if outcome.answer:
            line = printable(f"{outcome.worker}: {outcome.answer.text}")
            click.echo(line, err=not outcome.ok)
    return report_silence(outcomes)


def outcome_tree(outcome: CommandResult) -> dict[str, Any]:
    """A worker's answer for JSON."""
    return {
        "worker": outcome.worker,
        "ok": outcome.ok,
        "text": outcome.answer.text if outcome.answer else outcome.problem,
        "dump": outcome.answer.dump if outcome.answer else "",
    }


def report_silence(outcomes: Sequence[CommandResult]) -> int:
    """Name the workers that did not answer. 1 if one does not obey."""
    for outcome in outcomes:
        if outcome.answer is None:
            complain(f"{outcome.worker}: {outcome.problem}")
    return exit_code(outcomes)


def exit_code(outcomes: Sequence[CommandResult]) -> int:
    """0 if all workers obey, else 1."""
    return 0 if all(outcome.ok for outcome in outcomes) else 1
