"""Plans the services that Nagios or Icinga should have for the queue servers and their queues."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from beanwatch.checks.lib.own_services import OwnServices
from beanwatch.checks.lib.service_names import EVERY_QUEUE, label_queues, number_duplicates
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
from beanwatch.config import Config, Threshold
from beanwatch.globs import GLOB, escape_name, is_queue_glob, name_of
from beanwatch.light_typing import NamedTuple
from beanwatch.queues.servers import Server
from beanwatch.quoting import nagios_name

SERVER_SERVICE = find_check("queue_server").service
# The service on which all services of a host's queues depend. SERVER_SERVICE is no such parent: it
# is also CRITICAL for reasons that leave the state of most queues known.
ANSWERS_SERVICE = f"{SERVER_SERVICE} answers"
# The service on which the services of workers and jobs depend.
REDIS_SERVICE = find_check("redis").service

# Where `beanwatch install` writes the list of what has a service of its own.
LIST_FILES = {
    kind: f"/etc/beanwatch/services-{kind}.json" for kind in ("nagios", "icinga2", "nrpe")
}
# A kind of job whose names have other characters, or more, is judged by the catch-all service.
SAFE_QUEUE = r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]*"
SAFE_JOB = r"[A-Za-z0-9_.][A-Za-z0-9_.:/+@-]*"
MAX_KIND = 100  # characters of both names; NSCA cuts the name of a service at 127 bytes


class Service(NamedTuple):
    """One service of one host: the check, and what it checks."""

    host: str
    name: str
    check: str  # queue_server, queue_depth, ...
    server: str = ""  # value for `--server`: a name or an address
    queue: str = ""  # a name or glob, EVERY_QUEUE for all
    worker: str = ""  # an id or glob
    job: str = ""  # the name of a job of `queue`
    # True for a catch-all service: it judges what has no service of its own.
    is_rest: bool = False
    # The host whose service ANSWERS_SERVICE must not be CRITICAL, or this service notifies nobody.
    needs: str = ""
    # For a service about workers: the servers that have a service SERVER_SERVICE, for `--watched`.
    watched: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        """The name of the plugin: `check_queue_depth`."""
        return f"check_{self.check}"

    def arguments(self, list_file: str = "") -> list[tuple[str, str]]:
        """Return the options of the check, without the server, as pairs of a flag and its value.

        `list_file` is the file for the `--services` of a catch-all service; "": no file.
        """
        flags = {"--worker": self.worker, "-Q": self.queue, "--job": self.job}
        found = [(flag, value) for flag, value in flags.items() if value]
        if self.leaves_some_out and list_file:
            found.append(("--services", list_file))
        return [*found, *(("--watched", server) for server in self.watched)]

    @property
    def leaves_some_out(self) -> bool:
        """True if other services may judge some of its queues, workers or jobs instead.

        So does a catch-all service, and one for a glob of queues.
        """
        is_glob = bool(self.queue) and not self.job and name_of(self.queue) is None
        return self.is_rest or (is_glob and not self.judges_server)

    @property
    def covers_several(self) -> bool:
        """True if a second problem can hide behind a first one.

        That is so for a glob, for a catch-all service, and for a server or a Redis, which can be
        full and then go down.
        """
        if self.is_rest or self.judges_server:
            return self.is_rest
        if find_check(self.check).subject in (SERVER, REDIS):
            return True
        return name_of(self.queue) is None if self.queue else bool(GLOB.search(self.worker))

    @property
    def judges_server(self) -> bool:
        """True if the service judges a number of the server, and none of its queues."""
        return self.queue == EVERY_QUEUE and not self.is_rest


def plan_services(
    config: Config,
    servers: Sequence[Server],
    queues: Mapping[str, Collection[str]] | None = None,
    kinds: Iterable[tuple[str, str]] = (),
) -> list[Service]:
    """Return the services for these servers, their queues, the workers, jobs and the metrics.

    Each queue that the configuration names has services of its own. If `queues` is given (what was
    found, by `Server.node`, as globs: see `escape_name`), these have too, and a glob of the
    configuration has none: it only gives limits to the queues that match. A queue whose rule names
    no server then has none on a server that lacks it, if another one has it. Each expected worker,
    each group of workers, and each kind of job in `kinds` (queue, job) has one, too. A catch-all
    service per check covers the rest.

    Names that no queue can have are left out: the checks refuse these, and a false server may send
    them. A check gets no service if it needs a field that the server does not report. The
    checks of Redis, workers, jobs and metrics belong to the first host. Those that need Redis or
    Graphite are left out if it is off (an empty URL).
    """
    services: list[Service] = []
    for server in servers:
        globs = list_globs(config, server, servers, queues)
        services += _services_of(config, server, globs)
    if not servers:
        return services
    host = servers[0].node
    if config.redis.url:
        services += [
            Service(host, check.service, check.name) for check in CHECKS if check.subject == REDIS
        ]
        watched = tuple(name_or_address(config, server) for server in servers)
        services += _services_of_workers(config, host, watched)
        owners = {kind: _server_of_queue(kind[0], servers, queues) for kind in kinds}
        services += _services_of_jobs(host, owners, _server_of_workers(config, servers))
    if config.graphite.url:
        services += [
            Service(host, check.service, check.name) for check in CHECKS if check.subject == METRICS
        ]
    return services


def answers_services(services: Iterable[Service]) -> list[Service]:
    """Return the service of each server on which those of its queues depend."""
    return [
        Service(one.host, ANSWERS_SERVICE, one.check, one.server)
        for one in services
        if one.name == SERVER_SERVICE
    ]


def without_limits(config: Config, services: Iterable[Service]) -> list[Service]:
    """Return the services that are always OK, as their check needs limits, and none are set."""
    found = []
    for service in services:
        check = find_check(service.check)
        key = check.config_key
        queue = name_of(service.queue) or service.queue
        limits = config.threshold(key, queue, service.host) or config.checks.get(key, Threshold())
        if check.needs_limits and not limits.warning and not limits.critical:
            found.append(service)
    return found


def _services_of(config: Config, server: Server, globs: Sequence[str]) -> Iterable[Service]:
    """Yield the services of one server, then the services of each of its queues."""
    host, address = server.node, name_or_address(config, server)
    for check in CHECKS:
        if check.subject == SERVER:
            yield Service(host, check.service, check.name, address)
    for check in CHECKS:
        if check.subject == QUEUE and check.judges_server(server):
            name = f"failed jobs of {nagios_name(host)}"
            yield Service(host, name, check.name, address, EVERY_QUEUE, needs=host)
    for queue, label in label_queues(globs).items():
        for check in CHECKS:
            if check.subject == QUEUE and check.can_judge_queues(server):
                name, is_rest = f"{check.service} of {label}", queue == EVERY_QUEUE
                yield Service(host, name, check.name, address, queue, is_rest=is_rest, needs=host)


def list_globs(
    config: Config,
    server: Server,
    servers: Sequence[Server],
    queues: Mapping[str, Collection[str]] | None,
) -> list[str]:
    """Return the globs of the queues of a server that have services of their own, sorted.

    `servers` and `queues` are those of `plan_services`.
    """
    globs = set(map(escape_name, config.expected_queues(server.node)))
    if queues is None:
        rules = [rule.glob for rule in config.queues if rule.is_for(server.node)]
        globs.update(glob for glob in rules if name_of(glob) is None)
    else:
        globs -= _list_elsewhere(config, server, servers, queues)
        globs.update(queues.get(server.node, ()))
    return sorted(filter(is_queue_glob, globs - {EVERY_QUEUE}))


def _list_elsewhere(
    config: Config,
    server: Server,
    servers: Sequence[Server],
    queues: Mapping[str, Collection[str]],
) -> frozenset[str]:
    """Return the queues of the configuration that need no service on this server, as globs.

    `queues` has the globs of the queues that were found, by `Server.node`. A server that removes
    empty queues may have each queue later, so it keeps all services.
    """
    if server.system.absent_is_empty:
        return frozenset()
    absent = [
        name
        for name in config.expected_queues(server.node)
        if config.is_for_any_server(name, server.node)
        and escape_name(name) not in queues.get(server.node, ())
    ]
    others = [one for one in servers if one.node != server.node]
    return frozenset(
        escape_name(name)
        for name in absent
        if any(
            one.system.absent_is_empty or escape_name(name) in queues.get(one.node, ())
            for one in others
        )
    )


def _services_of_workers(config: Config, host: str, watched: tuple[str, ...]) -> Iterable[Service]:
    """Yield a service for each expected worker and each group, then one for all other workers.

    They depend on no queue server: the check knows which worker waits for which server, and a
    worker that dies while a server is down must alert.
    """
    own = {worker: f"worker {worker}" for worker in config.expected_workers}
    own |= {group.glob: f"workers {nagios_name(group.glob)}" for group in config.expected_groups}
    for check in CHECKS:
        if check.subject == WORKERS:
            for worker, name in number_duplicates(own).items():
                yield Service(host, name, check.name, worker=worker, watched=watched)
            rest = f"other {check.service}" if own else check.service
            yield Service(host, rest, check.name, worker="*", is_rest=True, watched=watched)


def _services_of_jobs(
    host: str, owners: Mapping[tuple[str, str], str], needs: str
) -> Iterable[Service]:
    """Yield a service for each kind of job, then one for all others.

    `owners` maps each kind (queue, job) to the host whose server has its queue; "" if unknown.
    """
    names = {
        (queue, job): nagios_name(f"failures of {queue} {job}")
        for queue, job in sorted(owners)
        if has_safe_names(queue, job)
    }
    for check in CHECKS:
        if check.subject == JOBS:
            for (queue, job), name in number_duplicates(names).items():
                owner = owners[queue, job] or needs
                yield Service(host, name, check.name, queue=queue, job=job, needs=owner)
            rest = f"other {check.service}" if names else check.service
            yield Service(host, rest, check.name, queue="*", is_rest=True, needs=needs)


def has_safe_names(queue: str, job: str) -> bool:
    """Return True if a kind of job can have a service of its own.

    Both names come from Redis. Any other name could be read as an option or as a command where a
    monitoring system runs the check, or does not fit into the name of a service for NSCA.
    """
    is_safe = re.fullmatch(SAFE_QUEUE, queue) and re.fullmatch(SAFE_JOB, job)
    return bool(is_safe) and len(queue) + len(job) < MAX_KIND


def _server_of_workers(config: Config, servers: Sequence[Server]) -> str:
    """Return the node of the server from which the workers take jobs; "" if there are several."""
    if len(servers) == 1:
        return servers[0].node
    name = config.worker.server
    nodes = [server.node for server in servers if name and name in (server.node, str(server))]
    return nodes[0] if nodes else ""


def _server_of_queue(
    queue: str, servers: Sequence[Server], queues: Mapping[str, Iterable[str]] | None
) -> str:
    """Return the node of the only server that has this queue; "" if it is not known."""
    nodes = [server.node for server in servers if queue in (queues or {}).get(server.node, ())]
    return nodes[0] if len(nodes) == 1 else ""


def list_own(services: Iterable[Service]) -> OwnServices:
    """Return what these services judge by themselves, so that catch-all services leave it out."""
    queues: dict[str, dict[str, None]] = {}
    workers: dict[str, None] = {}
    jobs: dict[tuple[str, str], None] = {}
    for service in services:
        if service.is_rest or service.judges_server:
            continue
        if service.worker:
            workers[service.worker] = None
        elif service.job:
            jobs[service.queue, service.job] = None
        elif service.queue:
            queues.setdefault(service.host, {})[service.queue] = None
    return OwnServices(
        {host: tuple(names) for host, names in queues.items()}, tuple(workers), tuple(jobs)
    )


def name_or_address(config: Config, server: Server) -> str:
    """Return the server's name in the configuration, else its address, without a password."""
    for name, entry in config.servers.items():
        if name != entry.url and (name == server.node or entry == server.config):
            return name
    return str(server)
