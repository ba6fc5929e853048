"""The configuration of Icinga 2, as text."""

from collections.abc import Iterator, Sequence

from beanwatch.checks.lib.output import fill_link
from beanwatch.checks.lib.services import Service
from beanwatch.checks.registry import CHECKS, QUEUE, SERVER, WORKERS, RegisteredCheck
from beanwatch.config import Config

# The templates of commands.conf, by what a check is of.
COMMAND_TEMPLATES = {SERVER: "beanwatch-check-server", QUEUE: "beanwatch-check-queue"}
WORKERS_ARGUMENT = """\
  arguments["--worker"] = {
    value = "$beanwatch_workers$"
    repeat_key = true
  }
"""


def icinga_checks(config: Config) -> Iterator[str]:
    """A command for each check, and rules that apply it to the hosts that ask for it."""
    for check in CHECKS:
        yield (
            f"object CheckCommand {icinga_text(f'beanwatch_{check.name}')} {{\n"
            f"  import {icinga_text(COMMAND_TEMPLATES.get(check.of, 'beanwatch-check'))}\n"
            f"  command = [ PluginDir + {icinga_text(f'/{check.program}')} ]\n"
            f"{WORKERS_ARGUMENT if check.of == WORKERS else ''}"
            "}\n"
        )
        yield apply_rule(check, config)


def apply_rule(check: RegisteredCheck, config: Config) -> str:
    """The service of each host, or of each queue of it, whose beanwatch_checks names the check."""
    name, queue = icinga_text(check.service), ""
    if check.of == QUEUE:
        name = icinga_text(f"{check.service} of ")
        name += " for (label => queue in host.vars.beanwatch_queues)"
        queue = "  vars.beanwatch_queue = queue\n"
    return (
        f"apply Service {name} {{\n"
        '  import "beanwatch-service"\n'
        f"  check_command = {icinga_text(f'beanwatch_{check.name}')}\n"
        f"{queue}"
        f"  notes_url = {icinga_text(fill_link(config.links.runbook, check.heading))}\n"
        '  if (host.vars.beanwatch_passive) { import "beanwatch-passive" }\n'
        f"  assign where {icinga_text(check.name)} in host.vars.beanwatch_checks\n"
        "}\n"
    )


def icinga_hosts(
    services: Sequence[Service], config: Config, *, passive: bool = False
) -> Iterator[str]:
    """The hosts, with the variables to which the rules apply the services."""
    for host in dict.fromkeys(service.host for service in services):
        mine = [service for service in services if service.host == host]
        # By the label that is in the services' names, as `beanwatch passive` uses it too.
        queues = {s.name.partition(" of ")[2]: s.queue for s in mine if s.queue}
        pairs = (f"{icinga_text(label)} = {icinga_text(queue)}" for label, queue in queues.items())
        checks = dict.fromkeys(service.check for service in mine)
        lines = [
            f"object Host {icinga_text(host)} {{",
            '  import "beanwatch-host"',
            f"  vars.beanwatch_server = {icinga_text(mine[0].server)}",
            f"  vars.beanwatch_queues = {{ {', '.join(pairs)} }}",
            f"  vars.beanwatch_checks = [ {', '.join(map(icinga_text, checks))} ]",
        ]
        if passive:
            lines.append("  vars.beanwatch_passive = true")
        if config.file:
            lines.append(f"  vars.beanwatch_config = {icinga_text(config.file)}")
        yield "\n".join([*lines, "}", ""])


def icinga_text(text: str) -> str:
    """A string literal. `$` starts a macro in command arguments."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'
