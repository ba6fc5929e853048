"""The `beanwatch` command: each subcommand is a module here, imported only when it is run."""

import difflib
import importlib
import sys
from typing import Any, cast

import click

from beanwatch import __version__

COMMANDS = {
    "worker": "run one worker",
    "put": "put one job into a queue",
    "collect": "send the numbers of queue servers to Graphite",
    "top": "servers, queues and workers at a glance, what is wrong first",
    "workers": "list workers; stop, restart or pause them, or ask what they do",
    "job": "what happened to a job, run by run, and where it is now",
    "queues": "look at queues; kick, delete, empty, pause or resume them",
    "install": "place plugins, configuration and units where this system expects them",
    "passive": "evaluate all checks in one process, and report them",
    "runbook": "what an alert means, and what to do",
    "config": "check or show the configuration",
    "doctor": "test the whole chain, and say what to do about each failure",
    "completion": "print the script that lets a shell complete commands and flags",
}
# Words that people type for a command, and the right ones.
NEAR_MISSES = {
    "check": "check_queue_server and its siblings are commands of their own: check_<TAB>",
    "collector": "beanwatch collect",
    "queue": "beanwatch queues",
    "tubes": "beanwatch queues",
    "jobs": "beanwatch job ID",
    "start": "beanwatch worker MODULE:APP --queue QUEUE --name NAME",
}
WORKERS_ACTIONS = ("list", "stop", "restart", "wait", "resume", "status", "dump", "forget")


class Commands(click.Group):
    """Imports a subcommand when it is run; for an unknown one it names the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The subcommands in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return `beanwatch.cli.<name>.command`."""
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(f"beanwatch.cli.{cmd_name}")
        return cast("click.Command", module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Take the texts from COMMANDS, so that `--help` imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command for an unknown word."""
        word = args[0]
        if word not in COMMANDS:
            near = difflib.get_close_matches(word, COMMANDS, 1)
            right = NEAR_MISSES.get(word) or (f"beanwatch {near[0]}" if near else "")
            hint = f"; did you mean: {right}" if right else ""
            ctx.fail(f"no such command: {word!r}{hint}")
        if word == "worker" and args[1:2] and args[1] in WORKERS_ACTIONS:
            ctx.fail(f"beanwatch worker runs one; did you mean: beanwatch workers {args[1]}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="beanwatch")
def beanwatch() -> None:
    """Monitoring and alerting for job queues and the workers that drain them.

    \b
    Example:
      beanwatch put email.regular email.send '{"to": "a@example.org"}'
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line; every expected error is one line on stderr, and exit 1 or 2."""
    try:
        result: Any = beanwatch.main(argv, prog_name="beanwatch", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "beanwatch"
        fail(f"{error.format_message()} (see {where} --help)", 2)
    except click.ClickException as error:
        fail(error.format_message(), 1)
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()  # else the interpreter reports the closed pipe once more
        sys.exit(141)
    sys.exit(result if isinstance(result, int) else 0)


def fail(message: str, code: int) -> None:
    """Print one line to stderr and exit."""
    click.echo(f"beanwatch: {message}", err=True)
    sys.exit(code)
