"""Generates the configuration of Icinga 2."""

from collections.abc import Iterator, Sequence

from beanwatch.checks.lib.output import fill_link
from beanwatch.checks.lib.services import Service
from beanwatch.checks.registry import CHECKS, QUEUE, SERVER, WORKERS, RegisteredCheck
from beanwatch.config import Config
from beanwatch.quoting import icinga_macro_string, icinga_string, quote_url

# The templates in commands.conf, by the subject of the check.
COMMAND_TEMPLATES = {SERVER: "beanwatch-check-server", QUEUE: "beanwatch-check-queue"}
WORKERS_ARGUMENT = """\
  arguments["--worker"] = {
    value = "$beanwatch_workers$"
    repeat_key = true
  }
"""


def icinga_checks(config: Config) -> Iterator[str]:
    """Yield for each check a CheckCommand, and the apply rule that makes its services."""
    for check in CHECKS:
        yield (
            f"object CheckCommand {icinga_string(f'beanwatch_{check.name}')} {{\n"
            f"  import {icinga_string(COMMAND_TEMPLATES.get(check.subject, 'beanwatch-check'))}\n"
            f"  command = [ PluginDir + {icinga_string(f'/{check.program}')} ]\n"
            f"{WORKERS_ARGUMENT if check.subject == WORKERS else ''}"
            "}\n"
        )
        yield apply_rule(check, config)


def apply_rule(check: RegisteredCheck, config: Config) -> str:
    """Return the apply rule of a check. It applies to hosts whose beanwatch_checks lists the check.

    A check about a queue gets a service for each queue in the host's beanwatch_queues.
    """
    name, queue = icinga_string(check.service), ""
    redis = "  vars.beanwatch_needs_redis = true\n" if check.needs_redis else ""
    runbook = quote_url(fill_link(config.links.runbook, check.heading))
    if check.subject == QUEUE:
        name = icinga_string(f"{check.service} of ")
        name += " for (label => queue in host.vars.beanwatch_queues)"
        queue = "  vars.beanwatch_queue = queue\n"
    return (
        f"apply Service {name} {{\n"
        '  import "beanwatch-service"\n'
        f"  check_command = {icinga_string(f'beanwatch_{check.name}')}\n"
        f"{queue}"
        f"{redis}"
        f"  notes_url = {icinga_string(runbook)}\n"
        '  if (host.vars.beanwatch_passive) { import "beanwatch-passive" }\n'
        f"  assign where {icinga_string(check.name)} in host.vars.beanwatch_checks\n"
        "}\n"
    )


def icinga_hosts(
    services: Sequence[Service], config: Config, *, passive: bool = False
) -> Iterator[str]:
    """Yield a Host object for each host, with the variables that the apply rules use.

    With `passive`, the services get their results from `beanwatch passive`.
    """
    for host in dict.fromkeys(service.host for service in services):
        mine = [service for service in services if service.host == host]
        # The keys are the labels in the services' names, by which `beanwatch passive` submits.
        queues = {s.name.partition(" of ")[2]: s.queue for s in mine if s.queue}
        pairs = (
            f"{icinga_string(key)} = {icinga_macro_string(queue)}" for key, queue in queues.items()
        )
        checks = dict.fromkeys(service.check for service in mine)
        lines = [
            f"object Host {icinga_string(host)} {{",
            '  import "beanwatch-host"',
            f"  vars.beanwatch_server = {icinga_macro_string(mine[0].server)}",
            f"  vars.beanwatch_queues = {{ {', '.join(pairs)} }}",
            f"  vars.beanwatch_checks = [ {', '.join(map(icinga_string, checks))} ]",
        ]
        if passive:
            lines.append("  vars.beanwatch_passive = true")
        if config.file:
            lines.append(f"  vars.beanwatch_config = {icinga_macro_string(config.file)}")
        yield "\n".join([*lines, "}", ""])
