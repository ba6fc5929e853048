"""`beanwatch queues kick|delete|move|empty|pause|resume`: actions that change queues or jobs."""

import math
from collections.abc import Sequence
from typing import Any

import click

from beanwatch.cli.lib.options import COUNT, DURATION, QUERY_TIMEOUT, need_redis
from beanwatch.cli.lib.output import exit_1_on, print_error
from beanwatch.cli.lib.plan_runner import PlanRunner, RunFlags
from beanwatch.cli.lib.queue_options import add_change_options, add_ledger_options, load_targets
from beanwatch.config import Config
from beanwatch.fleet.failed_jobs import MAX_LISTED, BuriedFilter, plan_by_ledger, plan_by_list
from beanwatch.fleet.queue_actions import (
    Step,
    Target,
    has_action,
    plan_jobs,
    plan_move,
    plan_pause,
    plan_resume,
    require_action,
)
from beanwatch.net.redis_url import RedisError, open_redis
from beanwatch.queues.base import ServerError
from beanwatch.queues.model import FREE_STATES

count_option = click.option(
    "--count", type=COUNT, help="at most this many jobs of each queue (all)"
)


def make_buried_command(name: str, action: str, help_text: str) -> click.Command:
    """Return the command that does `action` (kick or delete) with buried jobs."""

    @click.command(name, help=help_text)
    @add_change_options
    @add_ledger_options
    @count_option
    def command(
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
        config, targets = load_targets(config_file, servers, queue_glob)
        steps = plan_buried(config, redis, targets, action, BuriedFilter(**choice), count)
        return PlanRunner(name, RunFlags(dry_run, yes, as_json), config.set_redis(redis)).run(steps)

    return command


SELECTING = """
--job, --reason and --older-than select jobs by what workers recorded in the ledger when
they buried them. If the queue system itself keeps why a job failed, --job and --reason
select by that. Without these options, this {} all buried jobs.
"""
kick = make_buried_command(
    "kick",
    "kick",
    "Kick buried jobs: make them ready again, so that workers run them.\n"
    + SELECTING.format("kicks"),
)
retry = make_buried_command(
    "retry",
    "kick",
    "Retry failed jobs, as `kick` does: with RQ, Sidekiq and Laravel, queue them again; with "
    "RabbitMQ, SQS and IronMQ, move dead letters back; with beanstalkd, kick buried jobs.\n"
    + SELECTING.format("retries"),
)
delete = make_buried_command(
    "delete", "delete", "Delete buried jobs.\n" + SELECTING.format("deletes")
)


@click.command("move")
@add_change_options
@click.option("--to", "target", metavar="QUEUE", required=True, help="the queue to move jobs to")
@click.option(
    "--only",
    type=click.Choice(FREE_STATES),
    default="buried",
    help="move the jobs in this state (buried)",
)
@count_option
def move(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    target: str,
    only: str,
    count: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Move jobs to another queue of the same server; they keep their priority, TTR and delay.

    Each job is put into the other queue before it is deleted. If this is interrupted, one job
    may be in both queues and run twice. None is lost.
    """
    config, targets = load_targets(config_file, servers, queue_glob)
    with exit_1_on(ServerError, failure="cannot move jobs"):
        steps = plan_move(targets, [only], target, count)
    return PlanRunner("move", RunFlags(dry_run, yes, as_json), config).run(steps)


@click.command("empty")
@add_change_options
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(FREE_STATES),
    help="delete only jobs in this state; repeatable (all)",
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
    """Delete all ready, delayed and buried jobs. Jobs that a worker has reserved are kept.

    If a queue has jobs in a state in which its system cannot delete them, nothing is deleted. Then
    choose the other states with --only.
    """
    config, targets = load_targets(config_file, servers, queue_glob)
    with exit_1_on(ServerError, failure="cannot empty queues"):
        steps = plan_jobs(targets, "delete", only or FREE_STATES)
    return PlanRunner("delete", RunFlags(dry_run, yes, as_json), config).run(steps)


def plan_buried(
    config: Config,
    redis: str | None,
    targets: Sequence[Target],
    action: str,
    choice: BuriedFilter,
    count: int | None,
) -> list[Step]:
    """Plan an action (kick or delete) on the buried jobs of these queues, and return its steps.

    `count` is the largest number of jobs of each queue. Raises ClickException if a server, or
    the ledger that `choice` needs, cannot be read.
    """
    with exit_1_on(RedisError, ServerError, failure=f"cannot {action} buried jobs"):
        if not choice.is_set:
            return plan_jobs(targets, action, ["buried"], count)
        # A system that lists its failed jobs keeps the reason with them. For the others, it is in
        # the ledger.
        listing = [target for target in targets if has_action(target, "list_jobs")]
        others = [target for target in targets if not has_action(target, "list_jobs")]
        steps = plan_by_list(
            listing, action, choice, timeout=QUERY_TIMEOUT, count=count, on_cut=print_cut
        )
        if not others:
            return steps
        require_action(others, "find")
        with open_redis(need_redis(config, redis), QUERY_TIMEOUT) as link:
            return steps + plan_by_ledger(
                link.execute,
                others,
                action,
                choice,
                timeout=QUERY_TIMEOUT,
                count=count,
                on_unrecorded=print_unrecorded,
                on_rejected=lambda error: print_error(
                    f"a record of a buried job cannot be read, so this job is left out: {error}"
                ),
            )


def print_cut(target: Target) -> None:
    """Print that a queue has more failed jobs than those that were looked at."""
    print_error(
        f"{target} has more failed jobs than the first {MAX_LISTED} that were looked at: run this "
        "again for the others"
    )


def print_unrecorded(target: Target) -> None:
    """Print that the ledger has no record of the buried jobs of a queue, and the likely causes."""
    print_error(
        f"the ledger has no record of the {target.queue.buried} buried jobs of {target.name}: they "
        "have no id in their envelope and were buried before the server was restarted, or their "
        "workers do not write to this ledger"
    )


@click.command("pause")
@add_change_options
@click.option("--for", "seconds", type=DURATION, default=3600.0, help="duration of the pause (1h)")
def pause(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    seconds: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Pause queues: for a while, workers can reserve no jobs of theirs. Running jobs continue."""
    whole = math.ceil(seconds)
    if not whole:
        raise click.UsageError(
            "--for: must be at least one second; to end a pause, use beanwatch queues resume"
        )
    config, targets = load_targets(config_file, servers, queue_glob)
    with exit_1_on(ServerError, failure="cannot pause queues"):
        steps = plan_pause(targets, whole)
    return PlanRunner("pause", RunFlags(dry_run, yes, as_json), config).run(steps)


@click.command("resume")
@add_change_options
def resume(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """End the pause of queues, so that workers can reserve their jobs again."""
    config, targets = load_targets(config_file, servers, queue_glob)
    with exit_1_on(ServerError, failure="cannot resume queues"):
        steps = plan_resume(targets)
    return PlanRunner("resume", RunFlags(dry_run, yes, as_json), config).run(steps)
