"""Which services a monitoring server should have, and how Nagios, NRPE and Icinga 2 spell them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from beanwatch.config import Config
from beanwatch.net.address import parse_address
from beanwatch.queues.servers import Server

QUEUE_CHECKS = ("depth", "buried", "age", "consumers")
SERVER_SERVICE = "queue server"  # on it all other services of its host depend
EVERY_QUEUE = "*"
# Not allowed in the names of Nagios's objects (illegal_object_name_chars), and `;` and `!`.
ILLEGAL = dict.fromkeys(map(ord, "`~!$%^&*|'\"<>?,()=;\\"), "_")


class Service(NamedTuple):
    """One service of one host: which check it is, and of what."""

    host: str
    name: str
    check: str  # queue_server, queue_depth, ...
    server: str = ""  # as `--server` takes it
    queue: str = ""  # a name or glob, EVERY_QUEUE for all

    @property
    def command(self) -> str:
        """The plugin."""
        return f"check_{self.check}"


def plan(
    config: Config, servers: Sequence[Server], queues: Mapping[str, Iterable[str]] | None = None
) -> list[Service]:
    """The services for these servers: every queue of the configuration, and of `queues` by server.

    Where no queue is known, one service of each kind looks at all of them. What is not of one
    server (workers, jobs, metrics) is with the first, if the configuration says where it is:
    who has other workers than ours would be told for ever that there is no Redis.
    """
    services: list[Service] = []
    for server in servers:
        host, address = server.node, name_of(config, server)
        services.append(Service(host, SERVER_SERVICE, "queue_server", address))
        found = (queues or {}).get(server.node, ())
        known = dict.fromkeys([*(rule.glob for rule in config.queues), *sorted(found)])
        known.pop(EVERY_QUEUE, None)
        names = unique({queue: queue.translate(ILLEGAL) for queue in known})
        for queue in known or [EVERY_QUEUE]:
            of = names.get(queue, "all queues")
            services += [
                Service(host, f"{check} of {of}", f"queue_{check}", address, queue)
                for check in QUEUE_CHECKS
            ]
    if servers:
        host = servers[0].node
        if config.redis.url or config.expected_workers:
            services.append(Service(host, "workers", "worker_heartbeat"))
            services.append(Service(host, "job failures", "job_failures"))
        if config.graphite.url:
            services.append(Service(host, "metrics", "metrics_fresh"))
    return services


def name_of(config: Config, server: Server) -> str:
    """The server as the configuration calls it, else its address."""
    for name, address in config.servers.items():
        if address == str(server.address) or name == server.node:
            return name
    return str(server.address)


def unique(names: Mapping[str, str]) -> dict[str, str]:
    """The same, with a number added to a name that is taken."""
    taken: set[str] = set()
    result = {}
    for key, name in names.items():
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name} {number}"
        taken.add(candidate)
        result[key] = candidate
    return result


# -- Nagios


def nagios_objects(
    services: Sequence[Service], config: Config, *, passive: bool = False
) -> Iterator[str]:
    """Hosts, services and dependencies, as text."""
    hosts = dict.fromkeys(service.host for service in services)
    for host in hosts:
        server = next(s.server for s in services if s.host == host)
        options = f"-t 10 --config {config.file}" if config.file else "-t 10"
        yield block(
            "host",
            use="beanwatch-host",
            host_name=host,
            address=address_of(config, server),
            _BEANWATCH_SERVER=server,
            _BEANWATCH_OPTIONS=options,
        )
    for service in services:
        template = f"beanwatch-{service.check.replace('_', '-')}"
        fields = {
            "use": f"beanwatch-passive,{template}" if passive else template,
            "host_name": service.host,
            "service_description": service.name,
        }
        if not passive:
            fields["check_command"] = "!".join(nagios_arguments(service))
        if service.queue:
            fields["_QUEUE"] = nagios_text(service.queue)
        if config.links.graphs:
            fields["action_url"] = nagios_text(config.links.graphs.replace("{name}", service.check))
        yield block("service", **fields)
    for host in hosts:
        dependent = [s.name for s in services if s.host == host and s.queue]
        for start in range(0, len(dependent), 200):  # a line of Nagios's files has its limits
            yield block(
                "servicedependency",
                host_name=host,
                service_description=SERVER_SERVICE,
                dependent_host_name=host,
                dependent_service_description=",".join(dependent[start : start + 200]),
                notification_failure_criteria="c",
            )


def nagios_arguments(service: Service) -> list[str]:
    """The command and what goes between its exclamation marks."""
    if service.queue:
        return [service.command, nagios_text(service.queue).replace("!", r"\!")]
    if service.check == "worker_heartbeat" or service.check == "job_failures":
        return [service.command, "*"]
    return [service.command]


def nagios_text(text: str) -> str:
    """Text in an object file: `$` starts a macro there, and `;` a comment."""
    return text.replace("$", "$$").replace(";", r"\;")


def block(kind: str, **fields: str) -> str:
    """One definition."""
    width = max(map(len, fields))
    lines = "".join(f"    {name:{width}}  {value}\n" for name, value in fields.items())
    return f"define {kind} {{\n{lines}}}\n"


def address_of(config: Config, server: str) -> str:
    """The machine, which Nagios wants to know, though these checks do not use it."""
    address = parse_address(config.servers.get(server, server))
    return address.host or "127.0.0.1"


# -- NRPE


def nrpe_commands(services: Iterable[Service], plugins: str, config: Config) -> Iterator[str]:
    """A command without arguments for each service: Debian's NRPE is built without them."""
    options = f" --config {config.file}" if config.file else ""
    for service in services:
        server = f" --server '{service.server}'" if service.server else ""
        queue = f" -Q '{service.queue}'" if service.queue else ""
        label = f"beanwatch_{service.host}_{service.name}".replace(" ", "_")
        yield f"command[{label}]={plugins}/{service.command}{options}{server}{queue}\n"


# -- Icinga 2


def icinga_objects(
    services: Sequence[Service], config: Config, *, passive: bool = False
) -> Iterator[str]:
    """Hosts; services.conf of beanwatch applies the services to their variables."""
    for host in dict.fromkeys(service.host for service in services):
        mine = [service for service in services if service.host == host]
        # By what each is called, as `beanwatch passive` calls it too.
        queues = {
            s.name.removeprefix("depth of "): s.queue for s in mine if s.check == "queue_depth"
        }
        pairs = (f"{icinga_text(label)} = {icinga_text(queue)}" for label, queue in queues.items())
        kinds = [service.check for service in mine if not service.server]
        lines = [
            f"object Host {icinga_text(host)} {{",
            '  import "beanwatch-host"',
            f"  vars.beanwatch_server = {icinga_text(mine[0].server)}",
            f"  vars.beanwatch_queues = {{ {', '.join(pairs)} }}",
            f"  vars.beanwatch_checks = [ {', '.join(map(icinga_text, kinds))} ]",
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
