"""Generates the configuration of Icinga 2."""

from collections.abc import Iterator, Sequence

from beanwatch.checks.lib.output import fill_link
from beanwatch.checks.lib.services import Service
from beanwatch.checks.registry import (
    CHECKS,
    JOBS,
    QUEUE,
    REDIS,
    SERVER,
    WORKERS,
    RegisteredCheck,
    find_check,
)
from beanwatch.config import Config
from beanwatch.light_typing import Any
from beanwatch.quoting import icinga_macro_string, icinga_string, quote_url

# The templates in commands.conf, by the subject of the check.
COMMAND_TEMPLATES = {SERVER: "beanwatch-check-server", QUEUE: "beanwatch-check-queue"}
# The further arguments of a CheckCommand, and the variables that hold them, by the subject.
ARGUMENTS = {
    QUEUE: {"--services": "$beanwatch_services$"},
    WORKERS: {
        "--worker": "$beanwatch_worker$",
        "--services": "$beanwatch_services$",
        "--watched": "$beanwatch_watched$",
    },
    JOBS: {
        "--queue": "$beanwatch_job_queue$",
        "--job": "$beanwatch_job$",
        "--services": "$beanwatch_services$",
    },
}


def icinga_checks(config: Config) -> Iterator[str]:
    """Yield for each check a CheckCommand, and the apply rule that makes its services."""
    for check in CHECKS:
        arguments = ARGUMENTS.get(check.subject, {}).items()
        lines = [f'  arguments["{flag}"] = "{macro}"\n' for flag, macro in arguments]
        yield (
            f"object CheckCommand {icinga_string(f'beanwatch_{check.name}')} {{\n"
            f"  import {icinga_string(COMMAND_TEMPLATES.get(check.subject, 'beanwatch-check'))}\n"
            f"  command = [ PluginDir + {icinga_string(f'/{check.program}')} ]\n"
            f"{''.join(lines)}"
            "}\n"
        )
        yield apply_rule(check, config)
        if check.server_field:
            yield apply_rule(check, config, of_server=True)


def apply_rule(check: RegisteredCheck, config: Config, *, of_server: bool = False) -> str:
    """Return the apply rule of a check. It applies to hosts whose beanwatch_checks lists the check.

    A check about a queue gets a service for each entry of the host's beanwatch_queues. A check
    about workers or jobs gets one for each entry of beanwatch_workers or beanwatch_jobs. With
    `of_server` it is the rule for the services that judge a number of a server.
    """
    name, body = icinga_string(check.service), ""
    redis = "  vars.beanwatch_needs_redis = true\n" if check.needs_redis else ""
    runbook = quote_url(fill_link(config.links.runbook, check.heading))
    listed = f"{icinga_string(check.name)} in host.vars.beanwatch_checks"
    if of_server:
        name = "for (label => queue in host.vars.beanwatch_whole_server)"
        body = "  vars.beanwatch_queue = queue\n  vars.beanwatch_needs = host.name\n"
        listed = "host.vars.beanwatch_whole_server"
    elif check.subject == QUEUE:
        name = icinga_string(f"{check.service} of ")
        name += " for (label => queue in host.vars.beanwatch_queues)"
        body = "  vars.beanwatch_queue = queue\n  vars.beanwatch_needs = host.name\n"
        # Icinga's match() knows no brackets.
        body += '  if (regex("[*?\\\\[]", queue)) {\n    vars.beanwatch_several = true\n'
        body += "    vars.beanwatch_services = host.vars.beanwatch_list\n  }\n"
    elif check.subject in (SERVER, REDIS):
        # While a server or Redis is away, only this service alerts. That of Redis must be CRITICAL
        # before the services that depend on it would alert, which they do after 40 s.
        body = "  check_interval = 20s\n  vars.beanwatch_several = true\n"
    elif check.subject in (WORKERS, JOBS):
        name = f"for (label => entry in host.vars.beanwatch_{check.subject})"
        body = "  vars += entry\n"
    return (
        f"apply Service {name} {{\n"
        '  import "beanwatch-service"\n'
        f"  check_command = {icinga_string(f'beanwatch_{check.name}')}\n"
        f"{body}"
        f"{redis}"
        f"  notes_url = {icinga_string(runbook)}\n"
        '  if (host.vars.beanwatch_passive) { import "beanwatch-passive" }\n'
        f"  assign where {listed}\n"
        "}\n"
    )


def icinga_hosts(
    services: Sequence[Service], config: Config, *, passive: bool = False, list_file: str = ""
) -> Iterator[str]:
    """Yield a Host object for each host, with the variables that the apply rules use.

    With `passive`, the services get their results from `beanwatch passive`. `list_file` is the file
    that the catch-all services read (see `own_services`).
    """
    for host in dict.fromkeys(service.host for service in services):
        mine = [service for service in services if service.host == host]
        # The keys are the labels in the services' names, by which `beanwatch passive` submits.
        of_queues = [service for service in mine if _is_of_queue(service)]
        queues = {s.name.partition(" of ")[2]: s.queue for s in of_queues}
        of_server = {service.name: service.queue for service in mine if service.judges_server}
        checks = dict.fromkeys(service.check for service in mine if not service.judges_server)
        lines = [
            f"object Host {icinga_string(host)} {{",
            '  import "beanwatch-host"',
            f"  vars.beanwatch_server = {icinga_macro_string(mine[0].server)}",
            f"  vars.beanwatch_queues = {icinga_value(queues)}",
        ]
        if of_server:
            lines.append(f"  vars.beanwatch_whole_server = {icinga_value(of_server)}")
        for subject in (WORKERS, JOBS):
            entries = {
                service.name: entry_of(service, list_file)
                for service in mine
                if find_check(service.check).subject == subject
            }
            if entries:
                lines.append(f"  vars.beanwatch_{subject} = {icinga_value(entries)}")
        lines.append(f"  vars.beanwatch_checks = {icinga_value(list(checks))}")
        if list_file:
            lines.append(f"  vars.beanwatch_list = {icinga_macro_string(list_file)}")
        if passive:
            lines.append("  vars.beanwatch_passive = true")
        if config.file:
            lines.append(f"  vars.beanwatch_config = {icinga_macro_string(config.file)}")
        yield "\n".join([*lines, "}", ""])


def _is_of_queue(service: Service) -> bool:
    return find_check(service.check).subject == QUEUE and not service.judges_server


def entry_of(service: Service, list_file: str) -> dict[str, str | bool | list[str]]:
    """Return the variables of a service about workers or jobs, by name."""
    entry: dict[str, str | bool | list[str]] = {
        "beanwatch_worker": service.worker,
        "beanwatch_job_queue": service.queue,
        "beanwatch_job": service.job,
        "beanwatch_services": list_file if service.is_rest else "",
        "beanwatch_needs": service.needs,
        "beanwatch_watched": list(service.watched),
        "beanwatch_several": service.covers_several,
    }
    return {name: value for name, value in entry.items() if value}


def icinga_value(value: Any) -> str:
    """Return a string, a boolean, or a list or dictionary of these as a literal of Icinga.

    The strings are for variables in which Icinga replaces macros.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            pairs = (f"{icinga_string(key)} = {icinga_value(one)}" for key, one in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case list():
            return f"[ {', '.join(map(icinga_value, value))} ]"
    return icinga_macro_string(value)
