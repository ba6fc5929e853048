"""Generates the configuration of Nagios and of NRPE."""

from collections.abc import Iterable, Iterator, Sequence

from beanwatch.checks.lib.output import fill_link
from beanwatch.checks.lib.service_names import number_duplicates
from beanwatch.checks.lib.services import (
    ANSWERS_SERVICE,
    REDIS_SERVICE,
    Service,
    answers_services,
)
from beanwatch.checks.registry import (
    CHECKS,
    JOBS,
    METRICS,
    QUEUE,
    REDIS,
    SERVER,
    WORKERS,
    find_check,
)
from beanwatch.config import Config
from beanwatch.globs import name_of
from beanwatch.queues.servers import resolve_servers
from beanwatch.quoting import (
    nagios_argument,
    nagios_glob,
    nagios_name,
    nagios_option,
    nagios_quoted,
    nagios_value,
    nagios_word,
    nrpe_name,
    nrpe_word,
    quote_url,
)

# The arguments of a check's command, by the subject of the check. In a service's check_command, `!`
# precedes $ARG1$ and $ARG2$. The host defines _BEANWATCH_SERVER and _BEANWATCH_OPTIONS.
_HOST_ARGUMENTS = "--server '$_HOSTBEANWATCH_SERVER$' $_HOSTBEANWATCH_OPTIONS$"
COMMAND_ARGUMENTS = {
    SERVER: f"{_HOST_ARGUMENTS} $ARG1$",
    QUEUE: f"{_HOST_ARGUMENTS} -Q '$ARG1$' $ARG2$",
    WORKERS: "$_HOSTBEANWATCH_OPTIONS$ --worker '$ARG1$' $ARG2$",
    JOBS: "$_HOSTBEANWATCH_OPTIONS$ -Q '$ARG1$' $ARG2$",
    METRICS: "$_HOSTBEANWATCH_OPTIONS$ $ARG1$",
    REDIS: "$_HOSTBEANWATCH_OPTIONS$ $ARG1$",
}
ANSWERS_TEMPLATE = "beanwatch-queue-server-answers"
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
            "notes_url": _link(config.links.runbook, check.heading),
        }
        if check.subject in (SERVER, METRICS, REDIS):  # these need no argument
            fields["check_command"] = check.program
        if check.subject in (SERVER, REDIS):
            # Fewer attempts than in beanwatch-service: while a server or Redis is away, only this
            # service alerts. That of Redis must be in a HARD state before those that depend on it.
            fields["max_check_attempts"] = "2"
        yield define("service", **fields)
        if check.subject == SERVER:
            yield define(
                "service",
                name=ANSWERS_TEMPLATE,
                use=service_template(check.name),
                register="0",
                check_command=f"{check.program}!--answers",
                check_interval="0.34",  # minutes: 20 s
                retry_interval="0.34",
                max_check_attempts="1",
                notifications_enabled="0",
            )


def nagios_services(
    services: Sequence[Service], config: Config, *, passive: bool = False, list_file: str = ""
) -> Iterator[str]:
    """Yield hosts, services, dependencies. With `passive`, `beanwatch passive` runs the checks.

    `list_file` is the file that the catch-all services read (see `own_services`).
    """
    for host in dict.fromkeys(service.host for service in services):
        name = next(s.server for s in services if s.host == host)
        server = resolve_servers(config.servers, [name])[0]
        address = server.address.host if server.system.has_host else ""
        yield define(
            "host",
            use="beanwatch-host",
            host_name=host,
            address=nagios_value(address or "127.0.0.1"),
            _BEANWATCH_SERVER=nagios_quoted(name),
            _BEANWATCH_OPTIONS="-t 10"
            + (f" --config {nagios_word(config.file)}" if config.file else ""),
        )
    for service in answers_services(services):
        yield define(
            "service",
            use=f"beanwatch-passive,{ANSWERS_TEMPLATE}" if passive else ANSWERS_TEMPLATE,
            host_name=service.host,
            service_description=service.name,
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
        if service.queue and not service.judges_server:
            fields["_QUEUE"] = nagios_glob(service.queue)
        if group := queue_group(service):
            fields["servicegroups"] = group
        if config.links.graphs:
            heading = find_check(service.check).heading
            fields["action_url"] = _link(config.links.graphs, heading)
        yield define("service", **fields)
    for group in dict.fromkeys(filter(None, map(queue_group, services))):
        yield define("servicegroup", servicegroup_name=group, alias=group)
    yield from dependencies(services)


def queue_group(service: Service) -> str:
    """Return the name of the service group of a service's queue; "" for a catch-all service."""
    if not service.queue or service.is_rest or service.judges_server:
        return ""
    label = nagios_name(service.queue) if service.job else service.name.partition(" of ")[2]
    return f"queue {label}"


def dependencies(services: Sequence[Service]) -> Iterator[str]:
    """Yield the dependencies on the services of the queue servers, and on that of Redis."""
    for needs, host in dict.fromkeys((s.needs, s.host) for s in services if s.needs):
        names = [s.name for s in services if (s.needs, s.host) == (needs, host)]
        yield from define_dependency((needs, ANSWERS_SERVICE), host, names)
    for redis in (service for service in services if service.name == REDIS_SERVICE):
        for host in dict.fromkeys(service.host for service in services):
            mine = [s for s in services if s.host == host and find_check(s.check).needs_redis]
            names = [service.name for service in mine]
            yield from define_dependency((redis.host, redis.name), host, names)


def define_dependency(
    parent: tuple[str, str], host: str, dependents: Sequence[str]
) -> Iterator[str]:
    """Yield definitions that silence services of a host while `parent` is CRITICAL.

    `parent` is the host and the name of a service.
    """
    for start in range(0, len(dependents), MAX_DEPENDENTS):
        yield define(
            "servicedependency",
            host_name=parent[0],
            service_description=parent[1],
            dependent_host_name=host,
            dependent_service_description=",".join(dependents[start : start + MAX_DEPENDENTS]),
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
    words = [service.program, nagios_argument(first)]
    if others:
        words.append(" ".join(f"{flag} {nagios_option(value)}" for flag, value in others))
    return words


def _link(url: str, heading: str) -> str:
    return nagios_value(quote_url(fill_link(url, heading)))


def define(kind: str, **fields: str) -> str:
    """Return one definition for an object file, such as `define service { ... }`."""
    width = max(map(len, fields))
    lines = "".join(f"    {name:{width}}  {value}\n" for name, value in fields.items())
    return f"define {kind} {{\n{lines}}}\n"


# -- NRPE


def nrpe_checks(plugins: str, config: Config) -> Iterator[str]:
    """Yield an NRPE command for each check. It has no arguments: Debian's NRPE allows none."""
    for check in CHECKS:
        yield nrpe_command(f"beanwatch_{check.name}", f"{plugins}/{check.program}", config)


def nrpe_services(
    services: Iterable[Service], plugins: str, config: Config, list_file: str = ""
) -> Iterator[str]:
    """Yield an NRPE command for each service, with its server and its arguments."""
    labels = {s: nrpe_name(f"beanwatch_{s.host}_{s.name}", hashed=odd_queue(s)) for s in services}
    for service, label in number_duplicates(labels, "_").items():
        options = [("--server", service.server), *service.arguments(list_file)]
        yield nrpe_command(label, f"{plugins}/{service.program}", config, options)


def odd_queue(service: Service) -> str:
    """Return the name of the service's only queue if NRPE does not allow it, else "".

    The name of its commands ends with a hash of it, so that no queue that comes later takes them.
    """
    queue = name_of(service.queue) or ""
    return queue if nrpe_name(queue) != queue else ""


def nrpe_command(
    name: str, program: str, config: Config, options: Iterable[tuple[str, str]] = ()
) -> str:
    """Return the line that defines an NRPE command. Empty options are left out."""
    found = [("--config", config.file), *options]
    words = "".join(f" {flag} {nrpe_word(value)}" for flag, value in found if value)
    return f"command[{name}]={program}{words}\n"
