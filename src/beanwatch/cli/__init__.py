"""The `beanwatch` command. Each subcommand is a module here, imported only when it is run."""

import difflib
import importlib
import sys
from typing import Any, cast

import click

from beanwatch import __version__
from beanwatch.quoting import terminal_text

COMMANDS = {
    "worker": "run one worker process",
    "run": "run any program as a watched worker",
    "put": "put one job into a queue",
    "collect": "send metrics of queue servers and workers to Graphite, or serve them to Prometheus",
    "top": "show servers, queues and workers on one screen, problems first",
    "web": "serve the live page: queues, workers, failures, checks, and what to do",
    "workers": "list workers; stop, restart or pause them, or show what they do",
    "job": "show the recorded runs of a job, and its present state; kick or delete it",
    "failures": "list failed runs, with reason and traceback; retry or delete their jobs",
    "queues": "list queues; kick, delete or move their jobs; empty, pause or resume them",
    "install": "install plugins, configuration files or systemd units on this host",
    "passive": "run all checks in one process, and submit their results",
    "runbook": "print what an alert means, and what to do",
    "config": "check or show the configuration",
    "doctor": "test all servers and checks, and say how to fix each failure",
    "completion": "print the script for completion of commands and flags in a shell",
}
# Words that people type by mistake, and the command that they probably want.
NEAR_MISSES = {
    "check": "check_queue_server (each check is a separate program, named check_...)",
    "collector": "beanwatch collect",
    "queue": "beanwatch queues",
    "tubes": "beanwatch queues",
    "jobs": "beanwatch job ID",
    "start": "beanwatch worker MODULE:APP --queue QUEUE --name NAME",
}
WORKERS_ACTIONS = ("list", "stop", "restart", "wait", "resume", "status", "dump", "forget")


class Commands(click.Group):
    """A group that imports each subcommand only when it is run.

    For an unknown subcommand, the error message suggests the most similar one.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return `beanwatch.cli.<name>.command`; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(f"beanwatch.cli.{cmd_name}")
        return cast("click.Command", module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list for `--help` from the texts in COMMANDS, so that no module is imported."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that `args` names.

        Exits with code 2 for an unknown name, or for `worker ACTION` instead of `workers ACTION`.
        """
        word = args[0]
        if word not in COMMANDS:
            near = difflib.get_close_matches(word, COMMANDS, 1)
            right = NEAR_MISSES.get(word) or (f"beanwatch {near[0]}" if near else "")
            hint = f"; did you mean: {right}" if right else ""
            ctx.fail(f"there is no command {word!r}{hint}")
        if word == "worker" and args[1:2] and args[1] in WORKERS_ACTIONS:
            ctx.fail(
                f"`beanwatch worker` starts a worker; did you mean: beanwatch workers {args[1]}"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="beanwatch")
def beanwatch() -> None:
    """Monitoring and alerting for job queues and the workers that run their jobs.

    \b
    Example:
      beanwatch put email.regular email.send '{"to": "a@example.org"}'
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line `argv` (default: that of the process), and exit.

    For an expected error, print one line on stderr. The exit code is 2 for wrong usage, 1 for
    other errors, 130 after Ctrl-C, and 141 if standard output was closed.
    """
    try:
        result: Any = beanwatch.main(argv, prog_name="beanwatch", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)  # noqa: TID251 - our own text
        sys.exit(2)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "beanwatch"
        fail(f"{error.format_message()} (see {where} --help)", 2)
    except click.ClickException as error:
        fail(error.format_message(), 1)
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted before the end", 130)
    except BrokenPipeError:
        sys.stderr.close()  # otherwise Python reports the closed pipe again when it exits
        sys.exit(141)
    sys.exit(result if isinstance(result, int) else 0)


def fail(message: str, code: int) -> None:
    """Print `message` as one line on stderr, and exit with `code`."""
    line = " ".join(part.strip() for part in message.splitlines())
    click.echo(terminal_text(f"beanwatch: {line}"), err=True)  # noqa: TID251 - imports no rich
    sys.exit(code)
