"""`beanwatch failures`: list, retry and delete failed jobs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import click

from beanwatch.cli.lib.audit import Audit
from beanwatch.cli.lib.failure_search import (
    find_detail,
    find_failures,
    leave_out_others,
    reading,
)
from beanwatch.cli.lib.groups import ActionGroup
from beanwatch.cli.lib.options import (
    DURATION,
    QUERY_TIMEOUT,
    config_option,
    json_option,
    load_config,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import exit_1_on, print_error, print_json, print_line, print_table
from beanwatch.cli.lib.plan_runner import PAST, as_tree, describe, is_confirmed, make_progress
from beanwatch.cli.lib.tables import NAME_WIDTH, UNKNOWN, Columns, number_column, text_column
from beanwatch.durations import format_duration
from beanwatch.fleet.failure_actions import (
    JobResult,
    act_on_failures,
    group_by_job,
)
from beanwatch.fleet.failure_list import FailureGroup, group_failures
from beanwatch.fleet.job_story import find_job_servers
from beanwatch.fleet.queue_actions import Step, carry_out, open_actions
from beanwatch.fleet.server_failures import (
    keeps_failures,
    plan_chosen,
)
from beanwatch.outcomes import OUTCOMES
from beanwatch.queues.base import ServerError
from beanwatch.store.failures import Failure
from beanwatch.words import count

MAX_SHOWN_BODY = 4_000  # bytes


@click.group("failures", cls=ActionGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List failed jobs; retry or delete them.

    They are the last 10,000 failed runs that workers recorded, and the failed jobs that a queue
    server itself keeps: those of RQ, Sidekiq and Laravel, dead letters of RabbitMQ. Of each server,
    at most 500 are listed. Looking at a dead letter changes it, so it is listed only if you name
    its server with --server.

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
    return server_option(config_option(redis_option("the failures")(json_option(action))))


@command.command("list")
@add_choice_options
@click.option("--each", is_flag=True, help="list each run, and do not group those that are alike")
def list_failures(
    config_file: str | None,
    redis: str | None,
    servers: tuple[str, ...],
    as_json: bool,
    each: bool,
    **choice: Any,
) -> int:
    """List failed jobs in groups with the same queue, job and reason, the largest group first.

    With --server, only those are listed that are known to be of the named servers. The exit code is
    1 if a server could not be read.
    """
    config = load_config(config_file)
    chosen = pick_servers(config, servers)
    with reading(config, redis, chosen) as execute:
        seen = find_failures(execute, chosen, choice, is_asked=bool(servers))
    if servers:
        seen = leave_out_others(seen, chosen)
    found, now = seen.failures, seen.now
    for one in chosen if not servers else ():
        if keeps_failures(one) and one.system.peek_effect:
            print_error(
                f"the failed jobs of {one.node} were not read, because looking at a job "
                f"{one.system.peek_effect}: name it with --server {one.node}"
            )
    rows: Sequence[Any] = found if each else group_failures(found)
    if as_json:
        print_json([row.tree() for row in rows])
    elif not rows and not seen.is_incomplete:
        print_line("no failed run is recorded that fits")
    elif rows:
        print_table(each_table(found, now) if each else group_table(rows, now))
    return int(seen.is_incomplete)


@command.command("show")
@click.argument("ident", metavar="ID")
@server_option
@config_option
@redis_option("the failures")
@json_option
def show(
    ident: str,
    config_file: str | None,
    redis: str | None,
    servers: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show a failed job, with its traceback and the start of its body.

    ID is that of the failed run, from `failures list`.
    """
    if not ident:
        raise click.UsageError("ID is empty: name a failed run (see beanwatch failures list)")
    config = load_config(config_file)
    chosen = pick_servers(config, servers)
    with reading(config, redis, chosen) as execute:
        seen = find_failures(execute, chosen, {"id": ident}, is_asked=bool(servers))
        with exit_1_on(ServerError, failure="cannot read the job"):
            detail = find_detail(execute, seen) if seen.failures else None
    if detail is None:
        raise click.ClickException(f"no failed run {ident!r} is recorded")
    (run,) = seen.failures
    body = detail.body[:MAX_SHOWN_BODY].decode("utf-8", "backslashreplace")
    if as_json:
        print_json({**run.tree(), "traceback": detail.traceback, "body": body})
        return 0
    ago = f" {format_ago(run.failed_at, seen.now)} ago" if run.failed_at else ""
    attempt = f", attempt {run.attempt}" if run.attempt else ""
    print_line(f"{run.job} in {run.queue}: {run.outcome}{ago}{attempt}")
    by = f"kept by {run.node}" if run.node else f"run by {run.worker}"
    print_line(f"  job {run.uuid or run.job_id}, {by}")
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
    action = add_choice_options(action)
    return click.argument("ident", metavar="[ID]", default="")(action)


@command.command("retry")
@add_change_options
def retry(**options: Any) -> int:
    """Retry the jobs of failed runs: one by the ID of its run, or all that the options choose.

    A job that is still buried is kicked. One that is gone, because it was deleted or its server
    was restarted, is put again with the recorded body (up to 64 KiB), unless a later run has done
    it. A job that waits to run again stays as it is. A failed job that its own server keeps is
    queued again. All records of the job's failed runs are removed.
    """
    return change("retry", **options)


@command.command("delete")
@add_change_options
def delete(**options: Any) -> int:
    """Delete failed runs from the list, and their jobs if a server still keeps them as failed.

    With --server, the runs of other servers stay as they are.
    """
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
    with reading(config, redis, chosen) as execute:
        seen = find_failures(execute, chosen, {**choice, "id": ident}, is_asked=bool(servers))
        jobs = group_by_job(one for one in seen.failures if not one.node)
        method = "kick" if action == "retry" else action
        steps, refused = plan_chosen(seen.kept, [one for one in seen.failures if one.node], method)
        for text in refused:
            print_error(text)
        planned = len(jobs) + sum(step.jobs for step in steps)
        if ident and not seen.failures:
            raise click.ClickException(f"no failed run {ident!r} is recorded")
        is_partial = bool(refused) or seen.is_incomplete
        if not planned or dry_run:
            would = [JobResult(job, f"would {action}") for job in jobs]
            report(action, would, [(step, 0) for step in steps], as_json, dry_run=dry_run)
            return int(is_partial)
        if not is_confirmed(f"{action.capitalize()} {count(planned, 'failed job')}?", (), yes=yes):
            return 1
        audit = Audit(
            config.set_redis(redis),
            f"failures {action}",
            f"{action} {count(planned, 'failed job')}",
        )
        audit.write("started", planned)
        account = Account(steps)
        try:
            results: Iterator[JobResult] = iter(())
            if execute and jobs:
                places = find_job_servers(chosen, QUERY_TIMEOUT)
                named = chosen if servers else ()
                results = act_on_failures(execute, places, action, jobs, QUERY_TIMEOUT, named=named)
            account.act(action, results, planned)
        except KeyboardInterrupt:
            report(action, account.results, account.changed, as_json)
            audit.write("stopped", account.done)
            raise
        state = "failed" if account.troubles else "done"
        audit.write(state, account.done, "; ".join(account.troubles))
    report(action, account.results, account.changed, as_json)
    return 0 if account.done == planned and not is_partial else 1


class Account:
    """Keeps what was done with failed jobs, also if it is interrupted.

    `results` are those of recorded jobs. `troubles` says why steps ended early.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps, self._numbers = steps, [0] * len(steps)
        self.results: list[JobResult] = []
        self.troubles: list[str] = []

    @property
    def changed(self) -> list[tuple[Step, int]]:
        """The steps, each with the number of jobs that it has changed."""
        return list(zip(self._steps, self._numbers, strict=True))

    @property
    def done(self) -> int:
        """The number of jobs that were changed."""
        return sum(one.has_changed for one in self.results) + sum(self._numbers)

    def act(self, action: str, results: Iterator[JobResult], planned: int) -> None:
        """Take all results, then carry out the steps. Show the progress to `planned` jobs."""
        with make_progress() as progress:
            task = progress.add_task(action, total=planned)
            for one in results:
                self.results.append(one)
                progress.advance(task)
            for index, step in enumerate(self._steps):
                for number in run_parts(step, self.troubles.append):
                    self._numbers[index] += number
                    progress.advance(task, number)


def run_step(step: Step, on_trouble: Callable[[str], object]) -> int:
    """Carry out a step, and return how many jobs it changed. Print why if it ends early."""
    return sum(run_parts(step, on_trouble))


def run_parts(step: Step, on_trouble: Callable[[str], object]) -> Iterator[int]:
    """Carry out a step, and yield how many jobs each part changed. Print why if it ends early."""
    try:
        with closing(open_actions(step.target.server, QUERY_TIMEOUT)) as actions:
            yield from carry_out(actions, step)
    except ServerError as error:
        print_error(f"{step.target}: stopped before the end: {error}")
        on_trouble(str(error))


def report(
    action: str,
    results: Sequence[JobResult],
    changed: Sequence[tuple[Step, int]],
    as_json: bool,
    *,
    dry_run: bool = False,
) -> None:
    """Print what was done with each job, and with the jobs that servers keep, by queue."""
    if as_json:
        print_json([*map(result_tree, results), *(as_tree(*one) for one in changed)])
        return
    if not results and not changed:
        print_line(f"nothing to {action}")
    for one in results:
        run = one.job.last
        print_line(f"{run.queue} {run.job} {run.uuid or run.job_id}: {one.text}")
    for step, done in changed:
        if dry_run:
            print_line(f"would {action} {describe(step, step.jobs)}")
        else:
            print_line(f"{describe(step, done)}, {PAST[action]}")


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
        ago = format_ago(one.last_at, now)
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
        table.add_row(
            *(one.id, format_ago(one.failed_at, now), one.outcome, one.queue, one.job),
            *(str(one.attempt or UNKNOWN), one.worker or one.node, one.reason),
        )
    return table


def format_ago(at: float, now: float) -> str:
    """Return how long ago something failed; n/a if it is unknown."""
    return format_duration(max(0.0, now - at)) if at else UNKNOWN
