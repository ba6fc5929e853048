"""`beanwatch queues kick|empty|pause|resume`: the actions that change something."""

import math
import time
from collections.abc import Sequence
from typing import Any

import click

from beanwatch.cli.lib.job_view import say_rejected
from beanwatch.cli.lib.options import COUNT, DURATION
from beanwatch.cli.lib.queue_options import STATES, TIMEOUT, changing, choosing, pass_targets
from beanwatch.cli.lib.queue_plan import Choice, Step, Target, plan_by_ledger, plan_states
from beanwatch.cli.lib.queue_work import Work
from beanwatch.cli.top import pick_redis
from beanwatch.config import Config
from beanwatch.net.redis_url import DEFAULT_URL, Execute, RedisError, open_redis
from beanwatch.queues.beanstalkd.connection import ServerError
from beanwatch.store.ledger import find_buried


@click.command("kick")
@changing
@choosing
@click.option("--count", type=COUNT, help="of each queue at most this many")
def kick_queues(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    count: int | None,
    redis: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **choice: Any,
) -> int:
    """Put buried jobs back into the queue: all, or those chosen by the ledger."""
    config, targets = pass_targets(config_file, servers, queue_glob)
    steps = plan(config, redis, Choice(**choice), targets, ["buried"], count)
    return Work("kick", "kicked", dry_run=dry_run, yes=yes, as_json=as_json).run(steps)


@click.command("empty")
@changing
@choosing
@click.option("--only", multiple=True, type=click.Choice(STATES), help="only these jobs (all)")
def empty_queues(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
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
    config, targets = pass_targets(config_file, servers, queue_glob)
    steps = plan(config, redis, chosen, targets, only or STATES, None)
    return Work("delete", "deleted", dry_run=dry_run, yes=yes, as_json=as_json).run(steps)


def plan(
    config: Config,
    redis: str | None,
    choice: Choice,
    targets: Sequence[Target],
    states: Sequence[str],
    count: int | None,
) -> list[Step]:
    """What is to be done to which queue; exit 1 if the ledger is needed and cannot be read."""
    if not choice.is_made:
        return plan_states(targets, states, count)
    url = pick_redis(config, redis or config.redis.url or DEFAULT_URL)
    try:
        if url is None:
            raise click.UsageError("choosing by --job, --reason or --older-than needs --redis URL")
        with open_redis(url, TIMEOUT) as ledger:
            for target in targets:
                say_what_is_unknown(target, ledger.execute)
            return plan_by_ledger(ledger.execute, targets, choice, time.time(), count, TIMEOUT)
    except (RedisError, ServerError) as error:
        raise click.ClickException(str(error)) from None


def say_what_is_unknown(target: Target, execute: Execute) -> None:
    """Say that buried jobs cannot be chosen: the ledger knows jobs by their server's life."""
    buried = target.stats.get("current-jobs-buried")
    if buried and not find_buried(execute, target.life, target.queue, say_rejected):
        click.echo(
            f"beanwatch: the ledger knows none of the {buried} buried jobs of {target.queue}: they "
            "were buried before beanstalkd was started anew, or by workers that keep no ledger",
            err=True,
        )


@click.command("pause")
@changing
@click.option("--for", "seconds", type=DURATION, default=3600.0, help="how long (1h)")
def pause_queues(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    seconds: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Let nobody reserve jobs for a while. Running jobs are not touched."""
    whole = math.ceil(seconds)
    if not whole:
        raise click.UsageError("--for: at least a second; to end a pause: beanwatch queues resume")
    _, targets = pass_targets(config_file, servers, queue_glob)
    work = Work("pause", "paused", dry_run=dry_run, yes=yes, as_json=as_json)
    return work.run([Step(target, 1, "", seconds=whole) for target in targets])


@click.command("resume")
@changing
def resume_queues(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """End a pause."""
    _, targets = pass_targets(config_file, servers, queue_glob)
    paused = [target for target in targets if target.stats.get("pause-time-left")]
    work = Work("resume", "resumed", dry_run=dry_run, yes=yes, as_json=as_json)
    return work.run([Step(target, 1, "", seconds=0) for target in paused])
