"""`beanwatch runbook`: print the runbook in a terminal, without a browser or a network."""

import difflib
import sys

import click
from rich.console import Console
from rich.markdown import Markdown

from beanwatch.checks.lib.runbook_page import parse_headings, read_runbook
from beanwatch.checks.registry import CHECKS, JOBS, QUEUE, SERVER, WORKERS, RegisteredCheck
from beanwatch.cli.lib.output import print_text


@click.command()
@click.argument("alert", required=False, metavar="[ALERT]")
def command(alert: str | None) -> None:
    """Print the runbook, or only its section for one alert.

    ALERT is the section's heading, the name of the check, or that of the service in Nagios.

    \b
    Example:
      beanwatch runbook queue-consumers
      beanwatch runbook check_queue_consumers
    """
    text = read_runbook()
    if alert:
        text = find_section(parse_headings(text), alert)
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print_text(text)


def find_section(parts: dict[str, str], alert: str) -> str:
    """Return the section for an alert. Raises UsageError, with similar headings or all of them."""
    name = alert.lower().removeprefix("check_").lstrip("#")
    name = name.replace("_", "-").replace(" ", "-")
    name = next((check.heading for check in CHECKS if is_service(check, name)), name)
    if name in parts:
        return parts[name]
    near = difflib.get_close_matches(name, parts, 1)
    hint = f"did you mean {near[0]}?" if near else f"its headings are: {', '.join(parts)}"
    raise click.UsageError(f"the runbook has no heading {alert!r}; {hint}")


def is_service(check: RegisteredCheck, name: str) -> bool:
    """Return True if `plan_services` gives this name to a service of the check.

    `name` is in lower case, with `-` for each space.
    """
    beginnings = {
        SERVER: [f"{check.service} "],  # "queue server answers"
        QUEUE: [f"{check.service} of "],
        WORKERS: ["worker ", "workers "],
        JOBS: ["failures of "],
    }.get(check.subject, [])
    if check.server_field:
        beginnings.append("failed jobs of ")
    names = [text.replace(" ", "-") for text in (check.service, f"other {check.service}")]
    return name in names or any(name.startswith(text.replace(" ", "-")) for text in beginnings)
