"""`beanwatch failures`: list the failed runs that workers recorded; retry or delete their jobs."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from beanwatch.cli.lib.audit import Audit
from beanwatch.cli.lib.groups import ActionGroup
from beanwatch.cli.lib.options import (
    DURATION,
    QUERY_TIMEOUT,
    config_option,
    json_option,
    load_config,
    need_redis,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import print_error, print_json, print_line, print_table
from beanwatch.cli.lib.tables import NAME_WIDTH, Columns, number_column, text_column
from beanwatch.config import Config
from beanwatch.durations import format_duration
from beanwatch.fleet.failure_actions import (
    FailedJob,
    JobResult,
    act_on_failures,
    group_by_job,
)
from beanwatch.fleet.failure_list import FailureChoice, FailureGroup, group_failures
from beanwatch.fleet.job_story import find_job_servers
from beanwatch.net.redis_url import Execute, RedisError, open_redis
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.clock import read_time
from beanwatch.store.failures import Failure, FailureReader, read_detail
from beanwatch.words import count

MAX_SHOWN_BODY = 4_000  # bytes


@click.group("failures", cls=ActionGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List the last 10,000 failed runs that workers recorded; retry or delete their jobs.

    \b
    Examples:
      beanwatch failures
      beanwatch failures show 5f0c21d9a4e3b7c81d20
      beanwatch failures retry --job email.send --reason '*refused*'
    """


def add_choice_options(action: Any) -> Any:
    """Add the options that choose failed runs, and those that every action has."""
    failed = [outcome.name for outcome in OUTCOMES if outcome.is_failure]
    for option in (
        click.option("--within", type=DURATION, help="only those that failed within this time"),
        click.option("--worker", default="", metavar="ID", help="only those of this worker"),
        click.option("--outcome", type=click.Choice(failed), help="only this outcome"),
        click.option(
            "--reason", default="", metavar="TEXT", help="a part of the reason, or a glob"
        ),
        click.option(
            "--job", default="", metavar="TEXT", help="a part of the job's name, or a glob"
        ),
        click.option("--queue", "-Q", default="", metavar="QUEUE", help="only those of this queue"),
    ):
        action = option(action)
    return config_option(redis_option("the failures")(json_option(action)))


@command.command("list")
@add_choice_options
@click.option("--each", is_flag=True, help="list each run, and do not group those that are alike")
def list_failures(
    config_file: str | None, redis: str | None, as_json: bool, each: bool, **choice: Any
) -> int:
    """List failed runs in groups with the same queue, job and reason, the largest group first."""
    config = load_config(config_file)
    with reading(config, redis) as execute:
        found, now = find_failures(execute, choice)
    rows: Sequence[Any] = found if each else group_failures(found)
    if as_json:
        print_json([row._asdict() for row in rows])
    elif not rows:
        print_line("no failed run is recorded that fits")
    else:
        print_table(each_table(found, now) if each else group_table(rows, now))
    return 0


@command.command("show")
@click.argument("ident", metavar="ID")
@config_option
@redis_option("the failures")
@json_option
def show(ident: str, config_file: str | None, redis: str | None, as_json: bool) -> int:
    """Show a failed run, with its traceback and the start of its job's body.

    ID is that of the run, from `failures list`.
    """
    config = load_config(config_file)
    with reading(config, redis) as execute:
        found, now = find_failures(execute, {"id": ident})
        detail = read_detail(execute, ident) if found else None
    if not found or detail is None:
        raise click.ClickException(f"no failed run {ident!r} is recorded")
    (run,) = found
    body = detail.body[:MAX_SHOWN_BODY].decode("utf-8", "backslashreplace")
    if as_json:
        print_json({**run._asdict(), "traceback": detail.traceback, "body": body})
        return 0
    ago = format_duration(max(0.0, now - run.failed_at))
    print_line(f"{run.job} in {run.queue}: {run.outcome} {ago} ago, attempt {run.attempt}")
    print_line(f"  job {run.uuid or run.job_id}, run by {run.worker}")
    print_line(f"  {run.reason or 'no reason was given'}")
    for line in detail.traceback.splitlines():
        print_line(f"    {line}")
    if run.body_size >= 0:
        print_line(f"  body, {count(run.body_size, 'byte')}:")
        print_line(f"    {body}{' ...' if run.body_size > MAX_SHOWN_BODY else ''}")
    return 0


def add_change_options(action: Any) -> Any:
    """Add the argument and the options of `retry` and `delete`."""
    action = click.option("--yes", "-y", is_flag=True, help="do not ask for confirmation")(action)
    action = click.option("--dry-run", is_flag=True, help="only show what would be done")(action)
    action = server_option(add_choice_options(action))
    return click.argument("ident", metavar="[ID]", default="")(action)


@command.command("retry")
@add_change_options
def retry(**options: Any) -> int:
    """Retry the jobs of failed runs: one by the ID of its run, or all that the options choose.

    A job that is still buried is kicked. One that is gone, because it was deleted or its server
    was restarted, is put again with the recorded body (up to 64 KiB). A job that waits to run
    again stays as it is.
    """
    return change("retry", **options)


@command.command("delete")
@add_change_options
def delete(**options: Any) -> int:
    """Delete failed runs from the list, and their jobs if these are still buried."""
    return change("delete", **options)


def change(
    action: str,
    *,
    ident: str,
    config_file: str | None,
    redis: str | None,
    servers: tuple[str, ...],
    as_json: bool,
    dry_run: bool,
    yes: bool,
    **choice: Any,
) -> int:
    """Retry or delete the jobs of failed runs. Return the exit code: 1 if one was not changed."""
    if not ident and not any(choice.values()):
        raise click.UsageError(
            f"choose what to {action}: the ID of a run, --queue, --job, --reason, --outcome, "
            "--worker or --within (--job '*' for all)"
        )
    config = load_config(config_file)
    chosen = pick_servers(config, servers)
    with reading(config, redis) as execute:
        found, _ = find_failures(execute, {**choice, "id": ident})
        jobs = group_by_job(found)
        if ident and not jobs:
            raise click.ClickException(f"no failed run {ident!r} is recorded")
        if not jobs or dry_run:
            return report(action, [JobResult(job, f"would {action}") for job in jobs], as_json)
        ask(action, jobs, yes=yes)
        places = find_job_servers(chosen, QUERY_TIMEOUT)
        audit = Audit(
            config.set_redis(redis),
            f"failures {action}",
            f"{action} {count(len(jobs), 'failed job')}",
        )
        audit.write("started", len(jobs))
        results = list(act_on_failures(execute, places, action, jobs, QUERY_TIMEOUT))
        done = sum(one.has_changed for one in results)
        audit.write("done", done)
    report(action, results, as_json)
    return 0 if done == len(jobs) else 1


@contextmanager
def reading(config: Config, redis: str | None) -> Iterator[Execute]:
    """Connect to Redis. An error becomes a ClickException."""
    try:
        with open_redis(need_redis(config, redis), QUERY_TIMEOUT) as client:
            yield client.execute
    except RedisError as error:
        raise click.ClickException(
            f"cannot use the list of failures: {error} (--redis URL chooses another Redis)"
        ) from None


def find_failures(execute: Execute, choice: dict[str, Any]) -> tuple[list[Failure], float]:
    """Return the failed runs that `choice` selects, the newest first, and Redis's time."""
    now = read_time(execute)
    rejected: list[object] = []
    every = FailureReader(rejected.append).read(execute)
    if rejected:
        print_error(
            f"{count(len(rejected), 'record')} of failed runs cannot be read: {rejected[0]}"
        )
    given = {name: value for name, value in choice.items() if value is not None}
    return FailureChoice(**given).choose(every, now), now


def ask(action: str, jobs: Sequence[FailedJob], *, yes: bool) -> None:
    """Ask for confirmation. Raises UsageError without a terminal, Abort if the person says no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            "cannot ask for confirmation, because standard input is not a terminal: add --yes to "
            "do it without asking, or --dry-run to see what would be done"
        )
    click.confirm(f"{action.capitalize()} {count(len(jobs), 'failed job')}?", abort=True, err=True)


def report(action: str, results: Sequence[JobResult], as_json: bool) -> int:
    """Print what was done with each job. Return 0."""
    if as_json:
        print_json([result_tree(one) for one in results])
        return 0
    if not results:
        print_line(f"nothing to {action}")
    for one in results:
        run = one.job.last
        print_line(f"{run.queue} {run.job} {run.uuid or run.job_id}: {one.text}")
    return 0


def result_tree(one: JobResult) -> dict[str, Any]:
    """Return what was done with a job as a tree for JSON."""
    run = one.job.last
    return {
        "queue": run.queue,
        "job": run.job,
        "job_id": run.job_id,
        "uuid": run.uuid,
        "runs": one.job.ids,
        "done": one.has_changed,
        "text": one.text,
    }


def group_table(groups: Sequence[FailureGroup], now: float) -> Columns:
    """Return a table of groups of failed runs."""
    table = Columns(
        number_column("FAILED"),
        text_column("QUEUE", NAME_WIDTH),
        text_column("JOB", NAME_WIDTH),
        number_column("LAST"),
        text_column("ID OF THE LAST"),
        text_column("REASON", NAME_WIDTH),
        spare=("QUEUE", "LAST"),
    )
    for one in groups:
        ago = format_duration(max(0.0, now - one.last_at))
        table.add_row(f"{one.failed:,}", one.queue, one.job, ago, one.last, one.reason)
    return table


def each_table(failures: Sequence[Failure], now: float) -> Columns:
    """Return a table of failed runs."""
    table = Columns(
        text_column("ID"),
        number_column("AGO"),
        text_column("OUTCOME"),
        text_column("QUEUE", NAME_WIDTH),
        text_column("JOB", NAME_WIDTH),
        number_column("TRY"),
        text_column("WORKER", NAME_WIDTH),
        text_column("REASON", NAME_WIDTH),
        spare=("TRY", "WORKER", "QUEUE"),
    )
    for one in failures:
        ago = format_duration(max(0.0, now - one.failed_at))
        table.add_row(
            *(one.id, ago, one.outcome, one.queue, one.job),
            *(str(one.attempt), one.worker, one.reason),
        )
    return table
