"""Which services a monitoring server should have for these queue servers, queues and workers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from beanwatch.checks.registry import CHECKS, METRICS, QUEUE, SERVER, find_check
from beanwatch.config import Config
from beanwatch.net.address import AddressError
from beanwatch.queues.servers import Server, parse_server

EVERY_QUEUE = "*"
# All services of a host's queues depend on this one.
SERVER_SERVICE = find_check("queue_server").service
# What the names of Nagios's objects must not hold (illegal_object_name_chars), and `;` and `!`.
ILLEGAL_IN_NAMES = dict.fromkeys(map(ord, "`~!$%^&*|'\"<>?,()=;\\"), "_")


class Service(NamedTuple):
    """One service of one host: which check it is, and of what."""

    host: str
    name: str
    check: str  # queue_server, queue_depth, ...
    server: str = ""  # as `--server` takes it
    queue: str = ""  # a name or glob, EVERY_QUEUE for all

    @property
    def program(self) -> str:
        """The plugin."""
        return f"check_{self.check}"


def plan_services(
    config: Config, servers: Sequence[Server], queues: Mapping[str, Iterable[str]] | None = None
) -> list[Service]:
    """The services for these servers: every queue of the configuration, and of `queues` by server.

    Where no queue is known, one service of each kind looks at all of them. A check that needs a
    field which the server's system does not declare has no service. The checks that are not of
    one server are with the first, where the configuration says that there is something to ask:
    sites without beanwatch workers have no Redis, and a service would alert forever.
    """
    services: list[Service] = []
    for server in servers:
        found = (queues or {}).get(server.node, ())
        services += _services_of(config, server, found)
    if servers:
        host = servers[0].node
        has_workers = bool(config.redis.url or config.expected_workers)
        services += [
            Service(host, check.service, check.name)
            for check in CHECKS
            if check.of not in (SERVER, QUEUE)
            and (config.graphite.url if check.of == METRICS else has_workers)
        ]
    return services


def _services_of(config: Config, server: Server, queues: Iterable[str]) -> Iterable[Service]:
    """The checks of one server, then those of each of its queues."""
    host, address = server.node, name_of(config, server)
    for check in CHECKS:
        if check.of == SERVER:
            yield Service(host, check.service, check.name, address)
    known = dict.fromkeys([*(rule.glob for rule in config.queues), *sorted(queues)])
    known.pop(EVERY_QUEUE, None)
    labels = number_duplicates({queue: queue.translate(ILLEGAL_IN_NAMES) for queue in known})
    for queue in known or [EVERY_QUEUE]:
        label = labels.get(queue, "all queues")
        for check in CHECKS:
            if check.of == QUEUE and all(map(server.system.can_tell, check.fields)):
                name = f"{check.service} of {label}"
                yield Service(host, name, check.name, address, queue)


def name_of(config: Config, server: Server) -> str:
    """The server as the configuration calls it, else its address."""
    for name, text in config.servers.items():
        try:
            if name == server.node or parse_server(text) == server.url:
                return name
        except AddressError:
            continue
    return str(server)


def number_duplicates(names: Mapping[str, str]) -> dict[str, str]:
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
