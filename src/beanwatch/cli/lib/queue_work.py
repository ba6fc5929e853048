"""Carry out a plan: ask first, show progress, say what was done."""

import json
import sys
from collections.abc import Iterator, Sequence

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from beanwatch.cli.lib.queue_plan import Step
from beanwatch.cli.lib.queue_view import human_time
from beanwatch.queues.beanstalkd.actions import act_by_id, empty, kick, pause
from beanwatch.queues.beanstalkd.connection import Link, ServerError

TIMEOUT = 5.0


class Work:
    """One action on the steps of a plan."""

    def __init__(self, verb: str, done: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
        self._verb = verb
        self._past = done
        self._dry_run = dry_run
        self._yes = yes
        self._as_json = as_json
        self._done: list[int] = []

    def run(self, steps: Sequence[Step]) -> int:
        """Ask, act and report; exit 1 if the answer is no, or a server failed on the way."""
        self._done = [0] * len(steps)
        if not steps:
            self._report(steps, f"nothing to {self._verb}")
            return 0
        if self._dry_run:
            self._report(steps, "")
            return 0
        if not self._ask(steps):
            click.echo("nothing was done", err=True)
            return 1
        try:
            self._act(steps)
        except ServerError as error:
            self._report(steps, "")
            click.echo(f"beanwatch: {error}", err=True)
            return 1
        except KeyboardInterrupt:
            self._report(steps, "")
            raise
        self._report(steps, "")
        return 0

    def _ask(self, steps: Sequence[Step]) -> bool:
        if self._yes or self._verb == "resume":  # which loses nothing
            return True
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask on: --yes does it, --dry-run shows")
        for step in steps:
            click.echo(f"  {self._words(step, step.jobs)}", err=True)
        return click.confirm(f"{self._verb.capitalize()} all of these?", err=True)

    def _act(self, steps: Sequence[Step]) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        ) as progress:
            for number, step in enumerate(steps):
                task = progress.add_task(f"{self._verb} {step.target.queue}", total=step.jobs)
                with Link(step.target.server.address, TIMEOUT) as link:
                    for count in self._carry_out(link, step):
                        self._done[number] += count
                        progress.advance(task, count)

    def _carry_out(self, link: Link, step: Step) -> Iterator[int]:
        queue = step.target.queue
        if step.seconds is not None:
            return iter([int(pause(link, queue, step.seconds))])
        if step.ids is not None:
            return act_by_id(link, queue, step.ids, b"kick-job" if self._is_kick else b"delete")
        return (
            kick(link, queue, step.jobs)
            if self._is_kick
            else empty(link, queue, step.state, step.jobs)
        )

    @property
    def _is_kick(self) -> bool:
        return self._verb == "kick"

    def _words(self, step: Step, count: int) -> str:
        where = f"{step.target.server.node} {step.target.queue}"
        if step.seconds is None:
            return f"{where}: {count:,} {step.state} job{'s' if count != 1 else ''}"
        return f"{where}: for {human_time(step.seconds)}" if step.seconds else where

    def _report(self, steps: Sequence[Step], nothing: str) -> None:
        if self._as_json:
            rows = [
                {
                    "server": step.target.server.node,
                    "queue": step.target.queue,
                    "state": step.state,
                    "planned": step.jobs,
                    "done": done,
                }
                for step, done in zip(steps, self._done, strict=True)
            ]
            click.echo(json.dumps({"action": self._verb, "dry_run": self._dry_run, "queues": rows}))
            return
        if nothing:
            click.echo(nothing)
        for step, done in zip(steps, self._done, strict=True):
            if self._dry_run:
                click.echo(f"would {self._verb} {self._words(step, step.jobs)}")
            else:
                words = self._words(step, done)
                click.echo(f"{words}, {self._past}" if done or step.seconds is None else words)
