"""`beanwatch tubes`: look at tubes, kick, pause, resume and empty them."""

import difflib
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from beanwatch.cli.options import (
    COUNT,
    DURATION,
    config_option,
    load_config,
    pick_servers,
    server_option,
)
from beanwatch.cli.top import pick_redis
from beanwatch.cli.tube_plan import Choice, Step, Target, find_targets, plan_by_ledger, plan_queues
from beanwatch.cli.tube_view import SORTS, sort_tubes, tube_table
from beanwatch.cli.tube_work import Work
from beanwatch.collectors.observer import Observer
from beanwatch.collectors.overview import Lookout
from beanwatch.collectors.protocol import Link, ServerError
from beanwatch.collectors.redis_link import DEFAULT_URL, RedisError, RedisLink
from beanwatch.collectors.selection import INTERNAL, Selection
from beanwatch.collectors.stats import read_jobs
from beanwatch.config import Config

ACTIONS = ("list", "show", "peek", "kick", "pause", "resume", "empty")
QUEUES = ("ready", "delayed", "buried")  # those whose jobs no worker holds
EXCERPT = 200  # bytes of a body that peek shows
TIMEOUT = 5.0


class Tubes(click.Group):
    """`tubes` alone lists; a word that is no action is a glob for `list`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Send `tubes GLOB` to `list`, unless the word is nearly an action."""
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            if near := difflib.get_close_matches(word, ACTIONS, 1, 0.7):
                ctx.fail(f"no such action: {word!r}; did you mean: beanwatch tubes {near[0]}")
            args = ["list", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """No action is `list`; options may stand before the action too."""
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ("-h", "--help")
        # While a shell completes a line, the action may be the word that is being typed.
        if not ctx.resilient_parsing and (not args or is_option):
            action = next((arg for arg in args if arg in ACTIONS), "list")
            args = [action, *(arg for arg in args if arg != action)]
        return super().parse_args(ctx, args)


@click.group("tubes", cls=Tubes, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at tubes, and kick, pause, resume or empty them.

    \b
    Examples:
      beanwatch tubes 'email.*'
      beanwatch tubes kick email.regular --job email.send --reason '*refused*'
      beanwatch tubes empty 'test.*' --dry-run
    """


def common(action: Any) -> Any:
    """The options of every action."""
    action = click.option("--json", "as_json", is_flag=True, help="print JSON")(action)
    return server_option(config_option(action))


def pass_targets(
    config_file: str | None, servers: tuple[str, ...], glob: str
) -> tuple[Config, list[Target]]:
    """The tubes that the glob matches on the chosen servers; exit 1 if there is none."""
    config = load_config(config_file)
    try:
        targets = find_targets(pick_servers(config, servers), glob, TIMEOUT)
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    if not targets:
        raise click.ClickException(f"no tube matches {glob!r}; see beanwatch tubes list")
    return config, targets


def changing(action: Any) -> Any:
    """The options of an action that changes something."""
    action = click.option("--yes", "-y", is_flag=True, help="do not ask")(action)
    action = click.option("--dry-run", is_flag=True, help="only say what would be done")(action)
    return click.argument("tube_glob")(common(action))


def choosing(action: Any) -> Any:
    """The options that choose buried jobs by what the workers noted in the ledger."""
    action = click.option("--redis", metavar="URL", help="Redis with the ledger")(action)
    action = click.option("--older-than", type=DURATION, help="buried for longer than this")(action)
    action = click.option("--reason", metavar="GLOB", help="buried for this reason")(action)
    return click.option("--job", metavar="GLOB", help="buried jobs of this name")(action)


@command.command("list")
@click.argument("tube_glob", default="*")
@click.option("--sort", "order", type=click.Choice(list(SORTS)), default="name", help="by (name)")
@click.option("--internal", is_flag=True, help="also beanwatch's own: control and reply tubes")
@common
def list_tubes(
    config_file: str | None,
    servers: tuple[str, ...],
    tube_glob: str,
    order: str,
    internal: bool,
    as_json: bool,
) -> int:
    """One line a tube: jobs, consumers, age of the head of its queue, state."""
    chosen = pick_servers(load_config(config_file), servers)
    selection = Selection((tube_glob,), internal=() if internal else INTERNAL)
    lookout = Lookout([Observer(one, selection=selection) for one in chosen], TIMEOUT * 2)
    seen = lookout.look()
    lookout.close()
    rows = sort_tubes(seen.tubes, order)
    if as_json:
        print_json([row._asdict() | {"wrong": row.wrong} for row in rows])
    else:
        console = Console()
        if not console.is_terminal:
            console.width = 200
        console.print(tube_table(rows, several=len(chosen) > 1))
    troubles = [row.trouble for row in seen.servers if row.trouble]
    for trouble in troubles:
        click.echo(f"beanwatch: {trouble}", err=True)
    return 1 if troubles else 0


@command.command("show")
@click.argument("tube_glob", default="*")
@common
def show(config_file: str | None, servers: tuple[str, ...], tube_glob: str, as_json: bool) -> None:
    """Every field of `stats-tube`."""
    _, targets = pass_targets(config_file, servers, tube_glob)
    if as_json:
        print_json([{"server": one.server.node, **one.stats} for one in targets])
        return
    for target in targets:
        click.echo(f"{target.server.node} {target.tube}")
        for key, value in target.stats.items():
            if key != "name":
                click.echo(f"  {key:24} {value}")


@command.command("peek")
@click.argument("tube_glob")
@click.option("--bytes", "limit", type=COUNT, default=EXCERPT, help="of the body to show (200)")
@common
def peek(
    config_file: str | None, servers: tuple[str, ...], tube_glob: str, limit: int, as_json: bool
) -> None:
    """The next ready, delayed and buried job: its stats and the start of its body."""
    _, targets = pass_targets(config_file, servers, tube_glob)
    try:
        found = [job for target in targets for job in peek_target(target, limit)]
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(found)
        return
    for job in found:
        body = job.pop("body")
        click.echo(f"{job.pop('server')} {job['tube']}: next {job['state']} job")
        click.echo("  " + " ".join(f"{key}={value}" for key, value in job.items()))
        click.echo(f"  {body}{' ...' if job['size'] > limit else ''}")


def peek_target(target: Target, limit: int) -> list[dict[str, Any]]:
    """The heads of a tube's queues. Raises ServerError."""
    heads = []
    with Link(target.server.address, TIMEOUT) as link:
        for queue in QUEUES:
            if not target.stats.get(f"current-jobs-{queue}"):
                continue
            _, reply, _ = link.ask(
                [b"use " + target.tube.encode(), b"peek-" + queue.encode(), b"use default"]
            )
            if reply.word != b"FOUND":
                continue
            (job,) = read_jobs(link, [reply.args[0]])
            # A body may hold anything: control characters must not reach the terminal.
            text = reply.body[:limit].decode("utf-8", "backslashreplace")
            safe = "".join(
                c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
            )
            size = len(reply.body)
            heads.append({"server": target.server.node, **job, "size": size, "body": safe})
    return heads


@command.command("kick")
@changing
@choosing
@click.option("--count", type=COUNT, help="of each tube at most this many")
def kick_tubes(
    config_file: str | None,
    servers: tuple[str, ...],
    tube_glob: str,
    count: int | None,
    redis: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **choice: Any,
) -> int:
    """Put buried jobs back into the queue: all, or those chosen by the ledger."""
    config, targets = pass_targets(config_file, servers, tube_glob)
    steps = plan(config, redis, Choice(**choice), targets, ["buried"], count)
    return Work("kick", "kicked", dry_run=dry_run, yes=yes, as_json=as_json).run(steps)


@command.command("empty")
@changing
@choosing
@click.option("--only", multiple=True, type=click.Choice(QUEUES), help="only these jobs (all)")
def empty_tubes(
    config_file: str | None,
    servers: tuple[str, ...],
    tube_glob: str,
    only: tuple[str, ...],
    redis: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **choice: Any,
) -> int:
    """Delete jobs: all that no worker holds, or buried ones chosen by the ledger."""
    chosen = Choice(**choice)
    if chosen.is_made and only not in ((), ("buried",)):
        raise click.UsageError("--job, --reason and --older-than choose among buried jobs only")
    config, targets = pass_targets(config_file, servers, tube_glob)
    steps = plan(config, redis, chosen, targets, only or QUEUES, None)
    return Work("delete", "deleted", dry_run=dry_run, yes=yes, as_json=as_json).run(steps)


def plan(
    config: Config,
    redis: str | None,
    choice: Choice,
    targets: Sequence[Target],
    queues: Sequence[str],
    count: int | None,
) -> list[Step]:
    """What is to be done to which tube; exit 1 if the ledger is needed and cannot be read."""
    if not choice.is_made:
        return plan_queues(targets, queues, count)
    url = pick_redis(config, redis or config.redis.url or DEFAULT_URL)
    try:
        if url is None:
            raise click.UsageError("choosing by --job, --reason or --older-than needs --redis URL")
        with RedisLink(url, TIMEOUT) as link:
            return plan_by_ledger(link.execute, targets, choice, time.time(), count, TIMEOUT)
    except (RedisError, ServerError) as error:
        raise click.ClickException(str(error)) from None


@command.command("pause")
@changing
@click.option("--for", "seconds", type=DURATION, default=3600.0, help="how long (1h)")
def pause_tubes(
    config_file: str | None,
    servers: tuple[str, ...],
    tube_glob: str,
    seconds: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Let nobody reserve jobs for a while. Running jobs are not touched."""
    whole = math.ceil(seconds)
    if not whole:
        raise click.UsageError("--for: at least a second; to end a pause: beanwatch tubes resume")
    _, targets = pass_targets(config_file, servers, tube_glob)
    work = Work("pause", "paused", dry_run=dry_run, yes=yes, as_json=as_json)
    return work.run([Step(target, 1, "", seconds=whole) for target in targets])


@command.command("resume")
@changing
def resume_tubes(
    config_file: str | None,
    servers: tuple[str, ...],
    tube_glob: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """End a pause."""
    _, targets = pass_targets(config_file, servers, tube_glob)
    paused = [target for target in targets if target.stats.get("pause-time-left")]
    work = Work("resume", "resumed", dry_run=dry_run, yes=yes, as_json=as_json)
    return work.run([Step(target, 1, "", seconds=0) for target in paused])


def print_json(tree: Any) -> None:
    """Print for programs."""
    json.dump(tree, sys.stdout, indent=2)
    sys.stdout.write("\n")
