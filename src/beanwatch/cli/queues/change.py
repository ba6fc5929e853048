"""`beanwatch queues kick|delete|empty|pause|resume`: the actions that change something."""

import math
import time
from collections.abc import Sequence
from typing import Any

import click

from beanwatch.cli.lib.options import COUNT, DURATION, QUERY_TIMEOUT, need_redis
from beanwatch.cli.lib.output import complain, exit_on
from beanwatch.cli.lib.queue_options import changing, choosing, pass_targets
from beanwatch.cli.lib.queue_work import Manner, Work
from beanwatch.config import Config
from beanwatch.fleet.queue_actions import (
    FREE_STATES,
    BuriedFilter,
    Step,
    Target,
    find_unrecorded,
    plan_by_ledger,
    plan_jobs,
    plan_pause,
    plan_resume,
)
from beanwatch.net.redis_url import RedisError, open_redis
from beanwatch.queues.base import ServerError

count_option = click.option("--count", type=COUNT, help="of each queue at most this many")


@click.command("kick")
@changing
@choosing
@count_option
def kick(
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
    steps = plan_buried(config, redis, targets, "kick", BuriedFilter(**choice), count)
    return Work("kick", Manner(dry_run, yes, as_json)).run(steps)


@click.command("delete")
@changing
@choosing
@count_option
def delete(
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
    """Delete buried jobs: all, or those chosen by the ledger."""
    config, targets = pass_targets(config_file, servers, queue_glob)
    steps = plan_buried(config, redis, targets, "delete", BuriedFilter(**choice), count)
    return Work("delete", Manner(dry_run, yes, as_json)).run(steps)


@click.command("empty")
@changing
@click.option(
    "--only", multiple=True, type=click.Choice(FREE_STATES), help="only jobs in this state (all)"
)
def empty(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    only: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Delete all jobs that no worker holds."""
    _, targets = pass_targets(config_file, servers, queue_glob)
    with exit_on(ServerError):
        steps = plan_jobs(targets, "delete", only or FREE_STATES)
    return Work("delete", Manner(dry_run, yes, as_json)).run(steps)


def plan_buried(
    config: Config,
    redis: str | None,
    targets: Sequence[Target],
    action: str,
    choice: BuriedFilter,
    count: int | None,
) -> list[Step]:
    """The steps for these queues; exit 1 if the ledger is needed and cannot be read."""
    with exit_on(RedisError, ServerError):
        if not choice.is_set:
            return plan_jobs(targets, action, ["buried"], count)
        with open_redis(need_redis(config, redis), QUERY_TIMEOUT) as link:
            for target in find_unrecorded(link.execute, targets):
                complain(
                    f"the ledger knows none of the {target.queue.buried} buried jobs of "
                    f"{target.name}: they were buried before the server was restarted, or by "
                    "workers that keep no ledger"
                )
            return plan_by_ledger(
                link.execute,
                targets,
                action,
                choice,
                now=time.time(),
                timeout=QUERY_TIMEOUT,
                count=count,
            )


@click.command("pause")
@changing
@click.option("--for", "seconds", type=DURATION, default=3600.0, help="how long (1h)")
def pause(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    seconds: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Let nobody take jobs for a while. Jobs that are running go on."""
    whole = math.ceil(seconds)
    if not whole:
        raise click.UsageError("--for: at least a second; to end a pause: beanwatch queues resume")
    _, targets = pass_targets(config_file, servers, queue_glob)
    with exit_on(ServerError):
        steps = plan_pause(targets, whole)
    return Work("pause", Manner(dry_run, yes, as_json)).run(steps)


@click.command("resume")
@changing
def resume(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """End a pause."""
    _, targets = pass_targets(config_file, servers, queue_glob)
    with exit_on(ServerError):
        steps = plan_resume(targets)
    return Work("resume", Manner(dry_run, yes, as_json)).run(steps)
