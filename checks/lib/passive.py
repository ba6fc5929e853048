"""All checks in one process: one reading of each server, one of Redis, every service judged."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from beanwatch.checks.job_failures import WINDOW_MINUTES
from beanwatch.checks.lib.memory import FileMemory, ScopedMemory
from beanwatch.checks.lib.output import PluginResult
from beanwatch.checks.lib.plugin import READING_SHARE, Check, Unknown, conclude
from beanwatch.checks.lib.plugin_process import PluginOutput, UsageError
from beanwatch.checks.lib.redis_source import open_redis, read_from
from beanwatch.checks.lib.services import Service
from beanwatch.checks.lib.source import LiveSource, Source
from beanwatch.checks.registry import CHECKS, JOBS, METRICS, WORKERS
from beanwatch.config import Config, ConfigError
from beanwatch.net.redis_url import RedisError
from beanwatch.queues.base import Problem, Reading, ServerError, Wanted
from beanwatch.queues.consumers import Consumers, decide_consumers
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.store.outcome_counts import JobKind, read_outcomes

MAX_REMEMBERED_QUEUES = 20_000  # of a server
EVERYTHING = Wanted(heads=("ready",), problems=True)


class Poll(NamedTuple):
    """One server's reading, or the reason why there is none."""

    error: ServerError | None = None
    reading: Reading = Reading()
    problems: Sequence[Problem] = ()
    # The queues that looked stalled, a moment later; None if there was no time for that.
    second: Reading | None = None


def poll(server: Server, memory: FileMemory, timeout: float, output: PluginOutput) -> Poll:
    """Read everything that any check may want to know. Every error becomes `Poll.error`."""
    source = LiveSource([server], memory, timeout, output)
    try:
        reading = source.fetch(server, EVERYTHING)
        problems = list(source.problems(server, reading))
        doubtful = [
            name
            for name, queue in (reading.queues or {}).items()
            if decide_consumers(Consumers.of(queue, reading.server)) == "stalled"
        ]
        has_time = bool(doubtful) and source.wait([server])
        second = source.read_again(server, doubtful) if has_time else None
        return Poll(None, reading, problems, second)
    except ServerError as error:
        return Poll(error)
    except Exception as error:
        failed = ServerError(f"{server}: {describe_internal(error)}")
        print(f"beanwatch: {failed}", file=sys.stderr)  # noqa: T201
        return Poll(failed)
    finally:
        source.close()


def describe_internal(error: Exception) -> str:
    """The words for a fault of ours."""
    return f"internal error, please report it: {type(error).__name__}: {error}"


class PolledSource(Source):
    """A poll of one server, as the source of one check."""

    def __init__(
        self, server: Server, poll: Poll, memory: ScopedMemory, workers: Sequence[Worker] | None
    ) -> None:
        super().__init__([server], memory)
        self._poll, self._workers = poll, workers

    def fetch(self, server: Server, wanted: Wanted) -> Reading:
        """As Source does: the part of the poll that is wanted."""
        if self._poll.error:
            raise self._poll.error
        return _only(self._poll.reading, wanted)

    def problems(self, server: Server, reading: Reading) -> Sequence[Problem]:
        """As Source does."""
        return self._poll.problems

    def wait(self, servers: Sequence[Server]) -> bool:
        """As Source does. The poll has waited, if there was time."""
        return self._poll.second is not None

    def read_again(self, server: Server, names: Sequence[str]) -> Reading:
        """As Source does."""
        return _only(self._poll.second or self._poll.reading, Wanted(names=names))

    def workers(self) -> Sequence[Worker] | None:
        """As Source does."""
        return self._workers


def _only(reading: Reading, wanted: Wanted) -> Reading:
    """The reading with no other queues than those wanted."""
    queues, names = reading.queues, wanted.names
    if queues is None:
        return reading
    if names is None:
        names = wanted.choose(list(queues)).own if wanted.choose else list(queues)
    return reading._replace(queues={name: queues[name] for name in names if name in queues})


class ServiceResult(NamedTuple):
    """The result that is submitted for one service."""

    service: Service
    result: PluginResult


class Round:
    """One evaluation of all services."""

    def __init__(self, config: Config, servers: Sequence[Server], timeout: float) -> None:
        self._config, self._servers, self._timeout = config, servers, timeout
        self._output = PluginOutput("passive")  # it tells a watchdog, and there is none here
        self._checks = {check.name: check for check in CHECKS}
        self._modules = {check.name: check.load() for check in CHECKS}
        self._parsers = {name: module.parser() for name, module in self._modules.items()}
        self._defaults = {name: parser.parse_args([]) for name, parser in self._parsers.items()}

    def read(self) -> None:
        """Poll all servers side by side, and Redis."""
        addresses = [str(server) for server in self._servers]
        file = self._config.file and os.path.abspath(self._config.file)
        self.memory = FileMemory.for_arguments("passive", (file, addresses))
        budget = self._timeout * READING_SHARE
        with ThreadPoolExecutor(max(1, len(self._servers))) as pool:
            tasks = [
                pool.submit(poll, server, self.memory, budget, self._output)
                for server in self._servers
            ]
            self._polls = dict(zip(self._servers, (task.result() for task in tasks), strict=True))
        self._workers: Sequence[Worker] = ()
        self._outcomes: Mapping[JobKind, Counter[str]] = {}
        self._redis_error: RedisError | None = None
        options = self._options("worker_heartbeat")
        try:
            with open_redis(options, self._config, self._output) as link:
                self._workers = read_from(link, read_workers)
                self._outcomes = read_from(link, partial(read_outcomes, minutes=WINDOW_MINUTES))
        except RedisError as error:
            self._redis_error = error
        except (UsageError, ConfigError) as error:  # a wrong URL or password file of Redis only
            self._redis_error = RedisError(str(error))

    def queues(self) -> dict[str, list[str]]:
        """The queues found lately, by the node of their server.

        An empty queue that nobody uses vanishes, but its services still wait for results.
        """
        queues = {}
        is_wanted = Selection().is_wanted
        for server, found in self._polls.items():
            key = f"queues of {server.node}"
            before = self.memory.recall(key)
            now = filter(is_wanted, found.reading.queues or ())
            seen = dict.fromkeys([*now, *(before if isinstance(before, list) else ())])
            queues[server.node] = list(seen)[:MAX_REMEMBERED_QUEUES]
            self.memory.remember(key, queues[server.node])
        return queues

    def judge(self, services: Iterable[Service]) -> Iterator[ServiceResult]:
        """A result for every service. One that cannot be judged is UNKNOWN, and stops no other."""
        by_node = {server.node: server for server in self._servers}
        for service in services:
            try:
                check = self._build(service, by_node)
                result = conclude(check, self._config.links)
            except Exception as error:
                reason = describe_internal(error)
                result = PluginResult(service.check, Unknown.text, Unknown.code, reason)
            yield ServiceResult(service, result)

    def save(self) -> None:
        """Remember for the next round."""
        self.memory.save()

    def _build(self, service: Service, by_node: Mapping[str, Server]) -> Check:
        module, of = self._modules[service.check], self._checks[service.check].of
        options = self._options(service.check)
        check: Check
        if of == WORKERS:
            check = module.build(options, self._config, self._read_workers)
        elif of == JOBS:
            check = module.build(options, self._config, self._read_outcomes)
        elif of == METRICS:
            check = module.with_live_graphite(options, self._config, self._output)
        else:
            options.queue = [service.queue]
            server = by_node[service.host]
            memory = self.memory.scoped(service.check)
            has_redis = self._config.redis.url and not self._redis_error
            workers = self._workers if has_redis else None
            source = PolledSource(server, self._polls[server], memory, workers)
            check = module.build(options, self._config, source)
        return check

    def _options(self, check: str) -> argparse.Namespace:
        options = argparse.Namespace(**vars(self._defaults[check]))
        options.timeout = self._timeout
        options.timeout_state = self._parsers[check].timeout_state
        return options

    def _read_workers(self) -> Sequence[Worker]:
        if self._redis_error:
            raise self._redis_error
        return self._workers

    def _read_outcomes(self) -> Mapping[JobKind, Counter[str]]:
        if self._redis_error:
            raise self._redis_error
        return self._outcomes
