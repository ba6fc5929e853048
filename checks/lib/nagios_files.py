"""The configuration of Nagios and of NRPE, as text."""

from collections.abc import Iterable, Iterator, Sequence

from beanwatch.checks.lib.output import fill_link
from beanwatch.checks.lib.services import SERVER_SERVICE, Service
from beanwatch.checks.registry import CHECKS, JOBS, METRICS, QUEUE, SERVER, WORKERS, find_check
from beanwatch.config import Config
from beanwatch.queues.servers import parse_server

# What a check's command gets, by what the check is of. $ARG1$ and $ARG2$ are between the `!` of
# a service's check_command; _BEANWATCH_SERVER and _BEANWATCH_OPTIONS are the host's.
_OF_HOST = "--server '$_HOSTBEANWATCH_SERVER$' $_HOSTBEANWATCH_OPTIONS$"
COMMAND_ARGUMENTS = {
    SERVER: f"{_OF_HOST} $ARG1$",
    QUEUE: f"{_OF_HOST} -Q '$ARG1$' $ARG2$",
    WORKERS: "$_HOSTBEANWATCH_OPTIONS$ --worker '$ARG1$' $ARG2$",
    JOBS: "$_HOSTBEANWATCH_OPTIONS$ -Q '$ARG1$' $ARG2$",
    METRICS: "$_HOSTBEANWATCH_OPTIONS$ $ARG1$",
}
MAX_DEPENDENTS = 200  # in one definition, since Nagios limits the length of a line


def nagios_checks(config: Config) -> Iterator[str]:
    """A command and a service template for each check."""
    for check in CHECKS:
        yield define(
            "command",
            command_name=check.program,
            command_line=f"$USER1$/{check.program} {COMMAND_ARGUMENTS[check.of]}",
        )
        fields = {
            "name": template_of(check.name),
            "use": "beanwatch-service",
            "register": "0",
            "notes_url": nagios_text(fill_link(config.links.runbook, check.heading)),
        }
        if check.of in (SERVER, METRICS):  # these need no argument
            fields["check_command"] = check.program
        if check.service == SERVER_SERVICE:
            # One attempt fewer than beanwatch-service: services that depend on this one must find
            # it down before they notify anybody.
            fields["max_check_attempts"] = "2"
        yield define("service", **fields)


def nagios_services(
    services: Sequence[Service], config: Config, *, passive: bool = False
) -> Iterator[str]:
    """Hosts, services and dependencies."""
    hosts = dict.fromkeys(service.host for service in services)
    for host in hosts:
        server = next(s.server for s in services if s.host == host)
        yield define(
            "host",
            use="beanwatch-host",
            host_name=host,
            address=parse_server(config.servers.get(server, server)).address.host or "127.0.0.1",
            _BEANWATCH_SERVER=server,
            _BEANWATCH_OPTIONS=f"-t 10 --config {config.file}" if config.file else "-t 10",
        )
    for service in services:
        template = template_of(service.check)
        fields = {
            "use": f"beanwatch-passive,{template}" if passive else template,
            "host_name": service.host,
            "service_description": service.name,
        }
        if not passive:
            fields["check_command"] = "!".join(command_words(service))
        if service.queue:
            fields["_QUEUE"] = nagios_text(service.queue)
        if config.links.graphs:
            heading = find_check(service.check).heading
            fields["action_url"] = nagios_text(fill_link(config.links.graphs, heading))
        yield define("service", **fields)
    for host in hosts:
        dependents = [s.name for s in services if s.host == host and s.queue]
        for start in range(0, len(dependents), MAX_DEPENDENTS):
            names = ",".join(dependents[start : start + MAX_DEPENDENTS])
            yield define(
                "servicedependency",
                host_name=host,
                service_description=SERVER_SERVICE,
                dependent_host_name=host,
                dependent_service_description=names,
                notification_failure_criteria="c",
            )


def template_of(check: str) -> str:
    """The service template of a check."""
    return f"beanwatch-{check.replace('_', '-')}"


def command_words(service: Service) -> list[str]:
    """The command and its arguments, which Nagios wants separated by `!`."""
    if service.queue:
        return [service.program, nagios_text(service.queue).replace("!", r"\!")]
    if find_check(service.check).of in (WORKERS, JOBS):
        return [service.program, "*"]
    return [service.program]


def nagios_text(text: str) -> str:
    """Text in an object file: `$` would start a macro there, and `;` a comment."""
    return text.replace("$", "$$").replace(";", r"\;")


def define(kind: str, **fields: str) -> str:
    """One definition of an object file."""
    width = max(map(len, fields))
    lines = "".join(f"    {name:{width}}  {value}\n" for name, value in fields.items())
    return f"define {kind} {{\n{lines}}}\n"


# -- NRPE


def nrpe_checks(plugins: str, config: Config) -> Iterator[str]:
    """A command for each check, without arguments, since Debian's NRPE allows none."""
    for check in CHECKS:
        yield f"command[beanwatch_{check.name}]={plugins}/{check.program}{_config(config)}\n"


def nrpe_services(services: Iterable[Service], plugins: str, config: Config) -> Iterator[str]:
    """A command for each service."""
    for service in services:
        server = f" --server '{service.server}'" if service.server else ""
        queue = f" -Q '{service.queue}'" if service.queue else ""
        label = f"beanwatch_{service.host}_{service.name}".replace(" ", "_")
        yield f"command[{label}]={plugins}/{service.program}{_config(config)}{server}{queue}\n"


def _config(config: Config) -> str:
    return f" --config {config.file}" if config.file else ""
