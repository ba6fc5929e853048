"""Generates the configuration of Nagios and of NRPE."""

from collections.abc import Iterable, Iterator, Sequence

from beanwatch.checks.lib.output import fill_link
from beanwatch.checks.lib.services import ILLEGAL_IN_NAMES, SERVER_SERVICE, Service
from beanwatch.checks.registry import CHECKS, JOBS, METRICS, QUEUE, SERVER, WORKERS, find_check
from beanwatch.config import Config
from beanwatch.queues.servers import parse_server

# The arguments of a check's command, by the subject of the check. In a service's check_command, `!`
# precedes $ARG1$ and $ARG2$. The host defines _BEANWATCH_SERVER and _BEANWATCH_OPTIONS.
_HOST_ARGUMENTS = "--server '$_HOSTBEANWATCH_SERVER$' $_HOSTBEANWATCH_OPTIONS$"
COMMAND_ARGUMENTS = {
    SERVER: f"{_HOST_ARGUMENTS} $ARG1$",
    QUEUE: f"{_HOST_ARGUMENTS} -Q '$ARG1$' $ARG2$",
    WORKERS: "$_HOSTBEANWATCH_OPTIONS$ --worker '$ARG1$' $ARG2$",
    JOBS: "$_HOSTBEANWATCH_OPTIONS$ -Q '$ARG1$' $ARG2$",
    METRICS: "$_HOSTBEANWATCH_OPTIONS$ $ARG1$",
}
MAX_DEPENDENTS = 200  # services in one dependency: Nagios limits the length of a line


def nagios_checks(config: Config) -> Iterator[str]:
    """Yield a command and a service template for each check."""
    for check in CHECKS:
        yield define(
            "command",
            command_name=check.program,
            command_line=f"$USER1$/{check.program} {COMMAND_ARGUMENTS[check.subject]}",
        )
        fields = {
            "name": service_template(check.name),
            "use": "beanwatch-service",
            "register": "0",
            "notes_url": escape_nagios(fill_link(config.links.runbook, check.heading)),
        }
        if check.subject in (SERVER, METRICS):  # these need no argument
            fields["check_command"] = check.program
        if check.service == SERVER_SERVICE:
            # Fewer attempts than in beanwatch-service: this service must be in a HARD state before
            # the services that depend on it would notify.
            fields["max_check_attempts"] = "2"
        yield define("service", **fields)


def nagios_services(
    services: Sequence[Service], config: Config, *, passive: bool = False, list_file: str = ""
) -> Iterator[str]:
    """Yield hosts, services, dependencies. With `passive`, `beanwatch passive` runs the checks.

    `list_file` is the file that the catch-all services read (see `own_services`).
    """
    for host in dict.fromkeys(service.host for service in services):
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
        templates = [service_template(service.check)]
        if service.covers_several:
            templates.insert(0, "beanwatch-several")
        if passive:
            templates.insert(0, "beanwatch-passive")
        fields = {
            "use": ",".join(templates),
            "host_name": service.host,
            "service_description": service.name,
        }
        if not passive:
            fields["check_command"] = "!".join(command_words(service, list_file))
        if service.queue:
            fields["_QUEUE"] = escape_nagios(service.queue)
        if group := queue_group(service):
            fields["servicegroups"] = group
        if config.links.graphs:
            heading = find_check(service.check).heading
            fields["action_url"] = escape_nagios(fill_link(config.links.graphs, heading))
        yield define("service", **fields)
    for group in dict.fromkeys(filter(None, map(queue_group, services))):
        yield define("servicegroup", servicegroup_name=group, alias=group)
    yield from dependencies(services)


def queue_group(service: Service) -> str:
    """Return the name of the service group of a service's queue; "" for a catch-all service."""
    named = service.queue and not service.is_rest
    return f"queue {service.queue.translate(ILLEGAL_IN_NAMES)}" if named else ""


def dependencies(services: Sequence[Service]) -> Iterator[str]:
    """Yield the dependencies of all services that need a server on the service of that server."""
    for needs, host in dict.fromkeys((s.needs, s.host) for s in services if s.needs):
        dependents = [s.name for s in services if (s.needs, s.host) == (needs, host)]
        for start in range(0, len(dependents), MAX_DEPENDENTS):
            names = ",".join(dependents[start : start + MAX_DEPENDENTS])
            yield define(
                "servicedependency",
                host_name=needs,
                service_description=SERVER_SERVICE,
                dependent_host_name=host,
                dependent_service_description=names,
                notification_failure_criteria="c",
            )


def service_template(check: str) -> str:
    """Return the name of a check's service template: `beanwatch-queue-depth`."""
    return f"beanwatch-{check.replace('_', '-')}"


def command_words(service: Service, list_file: str = "") -> list[str]:
    """Return the command of a service and its arguments. In check_command, `!` separates them.

    The first argument is the value of `-Q` or `--worker`. The second one has further options.
    """
    arguments = service.arguments(list_file)
    if not arguments:
        return [service.program]
    (_, first), *others = arguments
    words = [service.program, escape_nagios(first).replace("!", r"\!")]
    if others:
        words.append(" ".join(f"{flag} {escape_nagios(value)}" for flag, value in others))
    return words


def escape_nagios(text: str) -> str:
    """Escape `$`, which starts a macro in an object file, and `;`, which starts a comment."""
    return text.replace("$", "$$").replace(";", r"\;")


def define(kind: str, **fields: str) -> str:
    """Return one definition for an object file, such as `define service { ... }`."""
    width = max(map(len, fields))
    lines = "".join(f"    {name:{width}}  {value}\n" for name, value in fields.items())
    return f"define {kind} {{\n{lines}}}\n"


# -- NRPE


def nrpe_checks(plugins: str, config: Config) -> Iterator[str]:
    """Yield an NRPE command for each check. It has no arguments: Debian's NRPE allows none."""
    for check in CHECKS:
        yield f"command[beanwatch_{check.name}]={plugins}/{check.program}{_config(config)}\n"


def nrpe_services(
    services: Iterable[Service], plugins: str, config: Config, list_file: str = ""
) -> Iterator[str]:
    """Yield an NRPE command for each service, with its server and its arguments."""
    for service in services:
        server = f" --server '{service.server}'" if service.server else ""
        options = "".join(f" {flag} '{value}'" for flag, value in service.arguments(list_file))
        label = f"beanwatch_{service.host}_{service.name}".replace(" ", "_")
        yield f"command[{label}]={plugins}/{service.program}{_config(config)}{server}{options}\n"


def _config(config: Config) -> str:
    return f" --config {config.file}" if config.file else ""
