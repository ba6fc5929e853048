"""Run an action on queues: ask for confirmation, show progress, and print what was done."""

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from beanwatch.cli.lib.audit import Audit
from beanwatch.cli.lib.options import QUERY_TIMEOUT
from beanwatch.cli.lib.output import print_error, print_json, print_line
from beanwatch.config import Config
from beanwatch.durations import format_duration
from beanwatch.fleet.queue_actions import Step, carry_out, count_jobs, open_actions
from beanwatch.queues.base import ServerError
from beanwatch.quoting import terminal_text

MAX_NAMED = 5  # queues that the audit list names
PAST = {
    "kick": "kicked",
    "retry": "retried",
    "delete": "deleted",
    "move": "moved",
    "pause": "paused",
    "resume": "resumed",
}


class RunFlags(NamedTuple):
    """The flags of a command that runs an action."""

    dry_run: bool  # only show the plan
    yes: bool  # do not ask for confirmation
    as_json: bool  # print the result as JSON


def is_confirmed(question: str, planned: Sequence[str], *, yes: bool) -> bool:
    """Show what is planned, ask the question, and return the answer; with `yes`, do not ask.

    If the person says no, a line says that nothing was changed. Raises UsageError if standard input
    is no terminal.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(
            "cannot ask for confirmation, because standard input is not a terminal: add --yes to "
            "do it without asking, or --dry-run to see what would be done"
        )
    for line in planned:
        print_line(f"  {line}", err=True)
    if click.confirm(question, err=True):
        return True
    print_line("not confirmed: nothing was changed", err=True)
    return False


class PlanRunner:
    """Runs one action (a key of PAST) on the steps of a plan, and writes it to the audit list."""

    def __init__(self, action: str, flags: RunFlags, config: Config) -> None:
        self._action = action
        self._flags = flags
        self._config = config
        self._done: list[int] = []

    def run(self, steps: Sequence[Step]) -> int:
        """Ask for confirmation, run the steps, and print the result. Return the exit code.

        It is 1 if the user said no, or if a server failed before the last step was done.
        """
        self._done = [0] * len(steps)
        if not steps or self._flags.dry_run:
            self._report(steps)
            return 0
        yes = self._flags.yes or self._action == "resume"  # resuming loses nothing
        planned = [describe(step, step.jobs) for step in steps]
        if not is_confirmed(f"{self._action.capitalize()} all of these?", planned, yes=yes):
            return 1
        audit = Audit(self._config, f"queues {self._action}", self._describe_all(steps))
        audit.write("started", sum(step.jobs for step in steps))
        try:
            self._act(steps)
        except ServerError as error:
            self._report(steps)
            audit.write("failed", sum(self._done), str(error))
            print_error(f"stopped before the end: {error}")
            return 1
        except KeyboardInterrupt:
            self._report(steps)
            audit.write("stopped", sum(self._done))
            raise
        self._report(steps)
        audit.write("done", sum(self._done))
        return 0

    def _describe_all(self, steps: Sequence[Step]) -> str:
        more = f", and {len(steps) - MAX_NAMED} more" if len(steps) > MAX_NAMED else ""
        named = ", ".join(describe(step, step.jobs) for step in steps[:MAX_NAMED])
        return f"{self._action} {named}{more}"

    def _act(self, steps: Sequence[Step]) -> None:
        with make_progress() as progress:
            for number, step in enumerate(steps):
                title = f"{self._action} {terminal_text(step.target.name)}"
                task = progress.add_task(title, total=step.jobs)
                with closing(open_actions(step.target.server, QUERY_TIMEOUT)) as actions:
                    for count in carry_out(actions, step):
                        self._done[number] += count
                        progress.advance(task, count)

    def _report(self, steps: Sequence[Step]) -> None:
        if self._flags.as_json:
            rows = [as_tree(step, done) for step, done in zip(steps, self._done, strict=True)]
            dry_run = self._flags.dry_run
            print_json({"action": self._action, "dry_run": dry_run, "queues": rows})
            return
        if not steps:
            print_line(f"nothing to {self._action}")
        for step, done in zip(steps, self._done, strict=True):
            if self._flags.dry_run:
                print_line(f"would {self._action} {describe(step, step.jobs)}")
            elif step.is_pause and not done:
                print_line(f"{describe(step, done)}: not {PAST[self._action]}")
            else:
                print_line(f"{describe(step, done)}, {PAST[self._action]}")


def make_progress() -> Progress:
    """Return a display of progress on standard error, which shows nothing if that is no terminal.

    Escape the foreign text in the descriptions of its tasks.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def describe(step: Step, count: int) -> str:
    """Return a step as text: the queue, and `count` jobs or the duration of a pause."""
    where = str(step.target)
    if not step.is_pause:
        to = f" to {step.to}" if step.to else ""
        return f"{where}: {count_jobs(step.target.server, step.state, count)}{to}"
    return f"{where}: for {format_duration(step.seconds)}" if step.seconds else where


def as_tree(step: Step, done: int) -> dict[str, object]:
    """Return a step as a tree for JSON. `done` is the number of jobs that were changed."""
    return {
        "server": step.target.server.node,
        "queue": step.target.name,
        "state": step.state,
        "planned": step.jobs,
        "done": done,
    }
