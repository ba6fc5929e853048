"""Plans the services that Nagios or Icinga should have for the queue servers and their queues."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from beanwatch.checks.lib.queues import is_queue_glob
from beanwatch.checks.registry import CHECKS, METRICS, QUEUE, SERVER, find_check
from beanwatch.config import Config, Threshold
from beanwatch.net.address import AddressError
from beanwatch.queues.servers import Server, parse_server
from beanwatch.quoting import nagios_name

K = TypeVar("K")
EVERY_QUEUE = "*"
# The service on which all services of a host's queues depend.
SERVER_SERVICE = find_check("queue_server").service
# The service on which the services of workers and jobs depend.
REDIS_SERVICE = find_check("redis").service


class Service(NamedTuple):
    """One service of one host: the check, and what it checks."""

    host: str
    name: str
    check: str  # queue_server, queue_depth, ...
    server: str = ""  # value for `--server`: a name or an address
    queue: str = ""  # a name or glob, EVERY_QUEUE for all

    @property
    def program(self) -> str:
        """The name of the plugin: `check_queue_depth`."""
        return f"check_{self.check}"


def plan_services(
    config: Config, servers: Sequence[Server], queues: Mapping[str, Iterable[str]] | None = None
) -> list[Service]:
    """Return the services for these servers, their queues, the workers and the metrics.

    Queues are those that the configuration names, and those in `queues` (by `Server.node`), without
    names that no queue can have: the checks refuse these, and a false server may send them. If
    neither has any, one service per check covers all queues. A check gets no service if it needs
    a field that the queue system does not report. The checks of workers, jobs and metrics belong to
    the first host. Those that need Redis or Graphite are left out if it is off (an empty URL).
    """
    services: list[Service] = []
    for server in servers:
        found = (queues or {}).get(server.node, ())
        services += _services_of(config, server, found)
    if servers:
        host = servers[0].node
        services += [
            Service(host, check.service, check.name)
            for check in CHECKS
            if check.subject not in (SERVER, QUEUE)
            and (config.graphite.url if check.subject == METRICS else config.redis.url)
        ]
    return services


def without_limits(config: Config, services: Iterable[Service]) -> list[Service]:
    """Return the services that are always OK, as their check needs limits, and none are set."""
    found = []
    for service in services:
        check = find_check(service.check)
        key = check.config_key
        limits = config.threshold(key, service.queue) or config.checks.get(key, Threshold())
        if check.needs_limits and not limits.warning and not limits.critical:
            found.append(service)
    return found


def _services_of(config: Config, server: Server, queues: Iterable[str]) -> Iterable[Service]:
    """Yield the services of one server, then the services of each of its queues."""
    host, address = server.node, name_or_address(config, server)
    for check in CHECKS:
        if check.subject == SERVER:
            yield Service(host, check.service, check.name, address)
    known = dict.fromkeys([*(rule.glob for rule in config.queues), *sorted(queues)])
    known.pop(EVERY_QUEUE, None)
    known = dict.fromkeys(filter(is_queue_glob, known))
    labels = number_duplicates({queue: nagios_name(queue) for queue in known})
    for queue in known or [EVERY_QUEUE]:
        label = labels.get(queue, "all queues")
        for check in CHECKS:
            if check.subject == QUEUE and all(map(server.system.can_tell, check.fields)):
                name = f"{check.service} of {label}"
                yield Service(host, name, check.name, address, queue)


def name_or_address(config: Config, server: Server) -> str:
    """Return the server's name in the configuration, else its address."""
    for name, text in config.servers.items():
        try:
            if name == server.node or parse_server(text) == server.url:
                return name
        except AddressError:
            continue
    return str(server)


def number_duplicates(names: Mapping[K, str], separator: str = " ") -> dict[K, str]:
    """Make the values unique: append ` 2`, ` 3` ... to a value that occurred before."""
    taken: set[str] = set()
    result: dict[K, str] = {}
    for key, name in names.items():
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}{separator}{number}"
        taken.add(candidate)
        result[key] = candidate
    return result
