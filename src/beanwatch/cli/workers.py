"""`beanwatch workers`: see the workers, and tell them what to do."""

import difflib
import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from beanwatch.cli import WORKERS_ACTIONS
from beanwatch.cli.lib.options import DURATION, config_option, load_config
from beanwatch.cli.lib.worker_view import worker_table
from beanwatch.cli.lib.workers_reach import ask_redis, find_workers, order, raise_version
from beanwatch.config import GLOB
from beanwatch.store.heartbeats import (
    WORKERS_KEY,
    Worker,
    decide_health,
    parse_beat,
    worker_key,
)
from beanwatch.worker.control.client import CommandResult
from beanwatch.worker.control.messages import Args

ANSWER_TIMEOUT = 3.0  # seconds; a worker that runs a job answers within one


class Workers(click.Group):
    """`workers` alone lists; a word that is no action is a glob for `list`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Send `workers GLOB` to `list`, unless the word is nearly an action."""
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            if near := difflib.get_close_matches(word, WORKERS_ACTIONS, 1, 0.7):
                ctx.fail(f"no such action: {word!r}; did you mean: beanwatch workers {near[0]}")
            args = ["list", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """No action is `list`."""
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ("-h", "--help")
        # While a shell completes a line, the action may be the word that is being typed.
        if not ctx.resilient_parsing and (not args or is_option):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("workers", cls=Workers, context_settings={"help_option_names": ["-h", "--help"]})
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
    action = click.option("--json", "as_json", is_flag=True, help="print JSON")(action)
    action = click.option("--redis", metavar="URL", help="Redis with the heartbeats")(action)
    return config_option(action)


def ordering(action: Any) -> Any:
    """The options of an action that the workers themselves answer."""
    action = click.option(
        "--timeout", type=DURATION, default=ANSWER_TIMEOUT, help="for the answers (3s)"
    )(action)
    action = click.option(
        "--server",
        metavar="NAME|ADDRESS",
        help="their beanstalkd, if it is not where the worker says or Redis is gone",
    )(action)
    return reading(action)


@command.command("list")
@click.argument("id_glob", default="*")
@reading
def list_workers(config_file: str | None, redis: str | None, id_glob: str, as_json: bool) -> int:
    """One line a worker: how it is, what it does and for how long, what it says."""
    is_all = id_glob == "*"
    found = find_workers(load_config(config_file), redis, id_glob, may_be_none=is_all)
    show(found, as_json)
    return 0


@command.command("status")
@click.argument("id_glob", default="*")
@ordering
def status(id_glob: str, as_json: bool, **options: Any) -> int:
    """As `list`, but asks the workers themselves, now."""
    outcomes = order("status", id_glob, **options)
    live = []
    for outcome in outcomes:
        if outcome.answer and outcome.answer.beat is not None:
            beat = parse_beat(json.dumps(outcome.answer.beat).encode())
            live.append(Worker(outcome.worker, 0.0, beat))
    show(live, as_json)
    return report_silence(outcomes)


@command.command("stop")
@click.argument("id_glob")
@ordering
def stop(id_glob: str, as_json: bool, **options: Any) -> int:
    """Finish the job in hand, exit with 0 and stay down."""
    return report(order("stop", id_glob, **options), as_json)


@command.command("restart")
@click.argument("id_glob", default="")
@ordering
def restart(
    id_glob: str, as_json: bool, redis: str | None, config_file: str | None, **options: Any
) -> int:
    """Finish the job in hand and exit with 10, for the supervisor to start the next.

    Without an ID all workers, spread out over their --restart-spread: for a deploy.
    """
    if id_glob:
        outcomes = order("restart", id_glob, redis=redis, config_file=config_file, **options)
        return report(outcomes, as_json)
    version, live = raise_version(load_config(config_file), redis)
    if as_json:
        print_json({"version": version, "workers": live})
    else:
        click.echo(
            f"version {version}: {len(live)} workers restart, each after its job and "
            "within its --restart-spread"
        )
    return 0


@command.command("wait")
@click.argument("id_glob")
@click.option("--for", "seconds", type=DURATION, help="then go on (until told to resume)")
@ordering
def wait(id_glob: str, seconds: float | None, as_json: bool, **options: Any) -> int:
    """Take no more jobs, after the one in hand, until told to resume or restarted."""
    if seconds == 0:
        raise click.UsageError("--for: more than 0; to end a wait: beanwatch workers resume")
    return report(order("wait", id_glob, Args(seconds), **options), as_json)


@command.command("resume")
@click.argument("id_glob")
@ordering
def resume(id_glob: str, as_json: bool, **options: Any) -> int:
    """Take jobs again."""
    return report(order("resume", id_glob, **options), as_json)


@command.command("dump")
@click.argument("id_glob")
@ordering
def dump(id_glob: str, as_json: bool, **options: Any) -> int:
    """The stack of every thread and the running job, as of now."""
    outcomes = order("dump", id_glob, **options)
    if not as_json:
        for outcome in outcomes:
            if outcome.answer:
                click.echo(f"{outcome.worker}: {outcome.answer.text}")
                click.echo(outcome.answer.dump)
        return report_silence(outcomes)
    return report(outcomes, as_json)


@command.command("forget")
@click.argument("id_glob")
@reading
def forget(config_file: str | None, redis: str | None, id_glob: str, as_json: bool) -> int:
    """Remove the records of dead workers that will not come back."""
    config = load_config(config_file)
    found = find_workers(config, redis, id_glob)
    dead = [worker.id for worker in found if decide_health(worker) == "dead"]
    if dead:
        commands = [("ZREM", WORKERS_KEY, *dead), ("DEL", *map(worker_key, dead))]
        ask_redis(config, redis, lambda link: link.execute(commands))
    alive = [worker.id for worker in found if worker.id not in dead]
    if as_json:
        print_json({"forgotten": dead, "alive": alive})
    else:
        for worker in dead:
            click.echo(f"{worker}: forgotten")
    for worker in alive:
        click.echo(f"beanwatch: {worker} lives; stop it first", err=True)
    return 1 if alive and not GLOB.search(id_glob) else 0


def show(workers: Sequence[Worker], as_json: bool) -> None:
    """The workers as a table, or all that is known of them as JSON."""
    if as_json:
        print_json(
            [
                {
                    "id": worker.id,
                    "health": decide_health(worker),
                    "age": round(worker.age, 3),
                    **(worker.beat._asdict() if worker.beat else {}),
                }
                for worker in workers
            ]
        )
        return
    if not workers:
        click.echo("no workers have been seen")
        return
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(worker_table(workers))


def report(outcomes: Sequence[CommandResult], as_json: bool) -> int:
    """One line a worker: what it answered, or why it did not. 1 if one does not obey."""
    if as_json:
        print_json(
            [
                {
                    "worker": outcome.worker,
                    "ok": outcome.ok,
                    "text": outcome.answer.text if outcome.answer else outcome.trouble,
                    "dump": outcome.answer.dump if outcome.answer else "",
                }
                for outcome in outcomes
            ]
        )
        return 0 if all(outcome.ok for outcome in outcomes) else 1
    for outcome in outcomes:
        if outcome.answer:
            click.echo(f"{outcome.worker}: {outcome.answer.text}", err=not outcome.ok)
    return report_silence(outcomes)


def report_silence(outcomes: Sequence[CommandResult]) -> int:
    """Say who did not answer. 1 if one does not obey."""
    for outcome in outcomes:
        if outcome.answer is None:
            click.echo(f"beanwatch: {outcome.worker}: {outcome.trouble}", err=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def print_json(tree: Any) -> None:
    """Print for programs."""
    json.dump(tree, sys.stdout, indent=2)
    sys.stdout.write("\n")
