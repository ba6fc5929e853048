"""Runs all checks in one process: reads each server and Redis once, then judges every service."""

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from beanwatch.checks.lib.grown_problems import has_grown
from beanwatch.checks.lib.memory import FileMemory
from beanwatch.checks.lib.output import PluginResult
from beanwatch.checks.lib.own_services import OwnServices
from beanwatch.checks.lib.passive_redis import read_all, unwrap
from beanwatch.checks.lib.plugin import (
    READING_SHARE,
    Check,
    Unknown,
    conclude,
    list_problems,
)
from beanwatch.checks.lib.plugin_process import PluginOutput, UsageError
from beanwatch.checks.lib.polled_source import PolledSource, describe_internal_error, poll
from beanwatch.checks.lib.services import ANSWERS_SERVICE, Service
from beanwatch.checks.registry import CHECKS, JOBS, METRICS, REDIS, WORKERS
from beanwatch.config import Config, ConfigError
from beanwatch.globs import escape_name
from beanwatch.light_typing import Any, NamedTuple
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server
from beanwatch.store.outcome_counts import JobKind

MAX_REMEMBERED_QUEUES = 20_000  # for each server
MAX_REMEMBERED_KINDS = 1_000


class ServiceResult(NamedTuple):
    """A service and its result, ready to be submitted to Nagios or Icinga."""

    service: Service
    result: PluginResult
    # True if something else went wrong since the round before, and the state is still the same.
    has_grown: bool = False


class PassiveRound:
    """Judges all services once: call `read`, then `judge`, then `save`. `timeout` is in seconds.

    `program` names the state file: two programs that judge the same servers must not share one.
    """

    def __init__(
        self, config: Config, servers: Sequence[Server], timeout: float, *, program: str = "passive"
    ) -> None:
        self._config, self._servers, self._timeout = config, servers, timeout
        self._program = program
        self._output = PluginOutput(program)  # unused: only a watchdog reads it
        self._checks = {check.name: check for check in CHECKS}
        self._modules = {check.name: check.load() for check in CHECKS}
        self._parsers = {name: module.parser() for name, module in self._modules.items()}
        self._defaults = {name: parser.parse_args([]) for name, parser in self._parsers.items()}

    def read(self) -> None:
        """Poll all servers in parallel, then read Redis. Errors are kept for `judge`."""
        addresses = [str(server) for server in self._servers]
        file = self._config.file and os.path.abspath(self._config.file)
        self.memory = FileMemory.for_arguments(self._program, (file, addresses))
        budget = self._timeout * READING_SHARE
        with ThreadPoolExecutor(max(1, len(self._servers))) as pool:
            tasks = [
                pool.submit(poll, server, self.memory, budget, self._output)
                for server in self._servers
            ]
            self._polls = dict(zip(self._servers, (task.result() for task in tasks), strict=True))
        self._redis = read_all(self._options("redis"), self._config, self._output)

    def first_queues(self) -> dict[str, list[str]]:
        """Return the queues of the first round as globs, by `Server.node`.

        It is the first round since the state file began that could read them. beanstalkd removes an
        empty queue, whose services still need results.
        """
        first = {}
        is_wanted = Selection().is_wanted
        for server, found in self._polls.items():
            queues = found.reading.queues
            names = None if queues is None else list(filter(is_wanted, queues))
            known = self._first(f"first queues of {server.node}", names, MAX_REMEMBERED_QUEUES)
            first[server.node] = [escape_name(name) for name in known if isinstance(name, str)]
        return first

    def first_kinds(self) -> list[JobKind]:
        """Return the kinds of jobs of the first round; see `first_queues`."""
        found = self._redis.outcomes
        kinds = None if isinstance(found, Exception) else list(found)
        known = self._first("first kinds of jobs", kinds, MAX_REMEMBERED_KINDS)
        return [JobKind(*map(str, kind)) for kind in known if len(kind) == 2]

    def _first(self, key: str, now: list[Any] | None, limit: int) -> list[Any]:
        """Return what was found first under a key; if nothing yet, remember what is there now."""
        known = self.memory.recall(key)
        if not isinstance(known, list):
            if now is None:
                return []
            known = now[:limit]
        self.memory.remember(key, known)
        return known

    def judge(self, services: Iterable[Service], own: OwnServices) -> Iterator[ServiceResult]:
        """Yield a result for every service. If judging one raises an exception, it is UNKNOWN.

        The catch-all services leave out what `own` lists.
        """
        self._own = own
        self._told: list[str] = []  # keys of the services whose problems this round remembers
        down = {server.node for server in self._find_down(self._servers)}
        by_node = {server.node: server for server in self._servers}
        for service in services:
            grown = False
            try:
                check = self._build(service, by_node)
                result = conclude(check, self._config.links)
                key = f"problems of {service.host} {service.name}"
                # A custom notification ignores the dependencies of Nagios, so this must not.
                if service.needs in down:
                    self.memory.keep(key)
                else:
                    self._told.append(key)
                    grown = has_grown(self.memory, key, result.exit_code, list_problems(check))
            except (UsageError, ConfigError) as error:
                result = PluginResult(service.check, Unknown.text, Unknown.code, str(error))
            except Exception as error:
                reason = describe_internal_error(error)
                result = PluginResult(service.check, Unknown.text, Unknown.code, reason)
            yield ServiceResult(service, result, grown)

    def save(self, *, is_submitted: bool = True) -> None:
        """Write the state file for the next round.

        If the results were not submitted, nobody has heard of the new problems: the next round
        tells of them.
        """
        for key in () if is_submitted else self._told:
            self.memory.keep(key)
        self.memory.save()

    def _build(self, service: Service, by_node: Mapping[str, Server]) -> Check:
        module, subject = self._modules[service.check], self._checks[service.check].subject
        options = self._options(service.check)
        options.services = self._own if service.leaves_some_out else None
        check: Check
        if subject == REDIS:
            check = module.build(options, self._config, partial(unwrap, self._redis.state))
        elif subject == WORKERS:
            options.worker, options.watched = [service.worker], list(service.watched)
            read = partial(unwrap, self._redis.fleet)
            check = module.build(options, self._config, read, self._find_down)
        elif subject == JOBS:
            options.queue, options.job = [service.queue], [service.job] if service.job else []
            check = module.build(options, self._config, partial(unwrap, self._redis.outcomes))
        elif subject == METRICS:
            check = module.with_live_graphite(options, self._config, self._output)
        else:
            options.queue = [service.queue]
            options.answers = service.name == ANSWERS_SERVICE
            server = by_node[service.host]
            memory = self.memory.scoped(service.check)
            fleet, workers = self._redis.fleet, None
            if self._config.redis.url and not isinstance(fleet, Exception):
                workers = [worker for worker in fleet.workers if not worker.has_left]
            source = PolledSource(server, self._polls, memory, workers)
            check = module.build(options, self._config, source)
        return check

    def _find_down(self, servers: Sequence[Server]) -> list[Server]:
        """Return those of the servers that this round has asked and that did not answer."""
        return [server for server in servers if server in self._polls and self._polls[server].error]

    def _options(self, check: str) -> argparse.Namespace:
        options = argparse.Namespace(**vars(self._defaults[check]))
        options.timeout = self._timeout
        options.timeout_state = self._parsers[check].timeout_state
        return options
