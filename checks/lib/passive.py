"""Runs all checks in one process: reads each server and Redis once, then judges every service."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from beanwatch.checks.job_failures import WINDOW_MINUTES
from beanwatch.checks.lib.fleet_source import Fleet, read_fleet, read_settled
from beanwatch.checks.lib.memory import FileMemory, ScopedMemory
from beanwatch.checks.lib.output import PluginResult
from beanwatch.checks.lib.own_services import OwnServices
from beanwatch.checks.lib.plugin import (
    READING_SHARE,
    Check,
    Critical,
    Unknown,
    conclude,
    list_problems,
)
from beanwatch.checks.lib.plugin_process import PluginOutput, UsageError
from beanwatch.checks.lib.redis_source import open_redis, read_from
from beanwatch.checks.lib.services import SERVER_SERVICE, Service
from beanwatch.checks.lib.source import LiveSource, Source
from beanwatch.checks.registry import CHECKS, JOBS, METRICS, REDIS, WORKERS
from beanwatch.config import Config, ConfigError
from beanwatch.globs import escape_name
from beanwatch.light_typing import NamedTuple, TypeVar
from beanwatch.net.redis_info import RedisState
from beanwatch.net.redis_url import Execute, RedisError
from beanwatch.queues.base import Problem, Reading, ServerError, Wanted
from beanwatch.queues.consumers import Consumers, decide_consumers
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server
from beanwatch.quoting import terminal_text
from beanwatch.store.heartbeats import Worker, read_redis
from beanwatch.store.outcome_counts import JobKind, read_outcomes

MAX_REMEMBERED_QUEUES = 20_000  # for each server
MAX_PROBLEMS = 2_000  # of one service, that are remembered
FORGET_PROBLEM_AFTER = 600.0  # seconds
MAX_REMEMBERED_KINDS = 1_000
EVERYTHING = Wanted(heads=("ready",), overtaken=True, problems=True)


class PollResult(NamedTuple):
    """The reading of one server, or the error if there is none."""

    error: ServerError | None = None
    reading: Reading = Reading()
    problems: Sequence[Problem] = ()
    # The second sample of the queues that look stalled; None if there is none.
    second: Reading | None = None


def poll(server: Server, memory: FileMemory, timeout: float, output: PluginOutput) -> PollResult:
    """Read everything that the checks need of one server, within `timeout` seconds.

    Raises nothing: every exception becomes the `error` of the result.
    """
    source = LiveSource([server], memory, timeout, output)
    try:
        reading = source.fetch(server, EVERYTHING)
        problems = list(source.problems(server, reading))
        look_stalled = [
            name
            for name, queue in (reading.queues or {}).items()
            if decide_consumers(Consumers.of(queue, reading.server)) == "stalled"
        ]
        has_time = bool(look_stalled) and source.wait([server])
        second = source.read_again(server, look_stalled) if has_time else None
        return PollResult(None, reading, problems, second)
    except ServerError as error:
        return PollResult(error)
    except Exception as error:
        failed = ServerError(f"{server}: {describe_internal_error(error)}")
        print(terminal_text(f"beanwatch: {failed}"), file=sys.stderr)  # noqa: T201
        return PollResult(failed)
    finally:
        source.close()


def describe_internal_error(error: Exception) -> str:
    """Return the text for an exception that only a fault of beanwatch can cause."""
    return f"internal error, please report it: {type(error).__name__}: {error}"


class PolledSource(Source):
    """Gives one check the data that `poll` has already read of one server."""

    def __init__(
        self,
        server: Server,
        polls: Mapping[Server, PollResult],
        memory: ScopedMemory,
        workers: Sequence[Worker] | None,
    ) -> None:
        super().__init__([server], memory)
        self._polls, self._workers = polls, workers
        self._poll = polls[server]

    def fetch(self, server: Server, wanted: Wanted) -> Reading:
        """Return the wanted queues of a server. Raises ServerError if its poll failed."""
        poll = self._polls.get(server, PollResult(ServerError(f"{server}: not read by this run")))
        if poll.error:
            raise poll.error
        return _select_queues(poll.reading, wanted)

    def problems(self, server: Server, reading: Reading) -> Sequence[Problem]:
        """Return the problems that the poll found."""
        return self._poll.problems

    def wait(self, servers: Sequence[Server]) -> bool:
        """Return True if the poll took a second sample. It has paused for it already."""
        return self._poll.second is not None

    def read_again(self, server: Server, names: Sequence[str]) -> Reading:
        """Return these queues from the second sample of the poll."""
        return _select_queues(self._poll.second or self._poll.reading, Wanted(names=names))

    def workers(self) -> Sequence[Worker] | None:
        """Return all heartbeats; None if no Redis is configured or it could not be read."""
        return self._workers


def _select_queues(reading: Reading, wanted: Wanted) -> Reading:
    """Return the reading with only the queues that `wanted` names or chooses."""
    queues, names = reading.queues, wanted.names
    if queues is None:
        return reading
    if names is None:
        names = wanted.choose(list(queues)).own if wanted.choose else list(queues)
    return reading._replace(queues={name: queues[name] for name in names if name in queues})


class ServiceResult(NamedTuple):
    """A service and its result, ready to be submitted to Nagios or Icinga."""

    service: Service
    result: PluginResult
    # True if something else went wrong since the round before, and the state is still the same.
    has_grown: bool = False


T = TypeVar("T")


class RedisReadings(NamedTuple):
    """Holds what one round read from Redis: each part, or the error that prevented reading it."""

    state: RedisState | Exception
    fleet: Fleet | Exception
    outcomes: Mapping[JobKind, Counter[str]] | Exception


def unwrap(found: T | Exception) -> T:
    """Return what was read. Raises the error if it could not be read."""
    if isinstance(found, Exception):
        raise found
    return found


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
        self._redis = self._read_redis()

    def _read_redis(self) -> "RedisReadings":
        try:
            with open_redis(self._options("redis"), self._config, self._output) as link:

                def attempt(read: Callable[[Execute], T]) -> T | RedisError:
                    try:
                        return read_from(link, read)
                    except RedisError as error:
                        return error

                def settled(execute: Execute) -> Fleet:
                    return read_settled(lambda: read_fleet(execute), self._timeout)

                outcomes = partial(read_outcomes, minutes=WINDOW_MINUTES)
                return RedisReadings(attempt(read_redis), attempt(settled), attempt(outcomes))
        except RedisError as error:
            return RedisReadings(error, error, error)
        except (UsageError, ConfigError) as error:  # the URL or the password file of Redis is wrong
            return RedisReadings(error, error, error)

    def queues(self) -> dict[str, list[str]]:
        """Return the queues of this round and of earlier rounds as globs, by `Server.node`.

        Earlier rounds count because beanstalkd removes an empty queue, whose services still need
        results.
        """
        queues = {}
        is_wanted = Selection().is_wanted
        for server, found in self._polls.items():
            key = f"queues of {server.node}"
            before = self.memory.recall(key)
            now = filter(is_wanted, found.reading.queues or ())
            seen = dict.fromkeys([*now, *(before if isinstance(before, list) else ())])
            names = list(seen)[:MAX_REMEMBERED_QUEUES]
            self.memory.remember(key, names)
            queues[server.node] = list(map(escape_name, names))
        return queues

    def kinds(self) -> list[JobKind]:
        """Return the kinds of jobs of this round and of earlier rounds.

        Earlier rounds count because the counts of a job that runs rarely expire.
        """
        key = "kinds of jobs"
        before = self.memory.recall(key)
        found = self._redis.outcomes
        known = dict.fromkeys(() if isinstance(found, Exception) else found)
        for kind in before if isinstance(before, list) else ():
            if isinstance(kind, list) and len(kind) == 2:
                known[JobKind(*map(str, kind))] = None
        kinds = list(known)[:MAX_REMEMBERED_KINDS]
        self.memory.remember(key, kinds)
        return kinds

    def first_queues(self) -> dict[str, list[str]]:
        """Return the queues of the first round as globs, by `Server.node`.

        It is the first round since the state file began.
        """
        first = {}
        for server, found in self._polls.items():
            key = f"first queues of {server.node}"
            known = self.memory.recall(key)
            if not isinstance(known, list) and found.reading.queues is not None:
                known = list(found.reading.queues)[:MAX_REMEMBERED_QUEUES]
            if isinstance(known, list):
                first[server.node] = [escape_name(name) for name in known if isinstance(name, str)]
                self.memory.remember(key, known)
        return first

    def judge(self, services: Iterable[Service], own: OwnServices) -> Iterator[ServiceResult]:
        """Yield a result for every service. If judging one raises an exception, it is UNKNOWN.

        The catch-all services leave out what `own` lists.
        """
        self._own = own
        down: set[str] = set()  # hosts whose queue server is CRITICAL
        by_node = {server.node: server for server in self._servers}
        for service in services:
            has_grown = False
            try:
                check = self._build(service, by_node)
                result = conclude(check, self._config.links)
                if service.name == SERVER_SERVICE and result.exit_code == Critical.code:
                    down.add(service.host)
                # A custom notification ignores the dependencies of Nagios, so this must not.
                has_grown = self._has_grown(service, check, result, service.needs in down)
            except (UsageError, ConfigError) as error:
                result = PluginResult(service.check, Unknown.text, Unknown.code, str(error))
            except Exception as error:
                reason = describe_internal_error(error)
                result = PluginResult(service.check, Unknown.text, Unknown.code, reason)
            yield ServiceResult(service, result, has_grown)

    def _has_grown(
        self, service: Service, check: Check, result: PluginResult, is_silent: bool
    ) -> bool:
        """Return True if a problem is new or worse, though the state is that of the last round.

        A problem that was there in the last FORGET_PROBLEM_AFTER seconds is not new.
        """
        key = f"problems of {service.host} {service.name}"
        if is_silent:
            self.memory.keep(key)
            return False
        found = list_problems(check)
        if not found:
            return False
        now = self.memory.now
        match self.memory.recall(key):
            case [int() as state, dict() as before]:
                is_same = state == result.exit_code
            case _:
                is_same, before = False, {}
        known = {
            name: (rank, at)
            for name, (rank, at) in before.items()
            if now - at <= FORGET_PROBLEM_AFTER
        }
        has_grown = is_same and any(
            name not in known or rank > known[name][0] for name, rank in found.items()
        )
        known |= {name: (rank, now) for name, rank in found.items()}
        kept = dict(sorted(known.items(), key=lambda item: -item[1][1])[:MAX_PROBLEMS])
        self.memory.remember(key, [result.exit_code, kept])
        return has_grown

    def save(self) -> None:
        """Write the state file for the next round."""
        self.memory.save()

    def _build(self, service: Service, by_node: Mapping[str, Server]) -> Check:
        module, subject = self._modules[service.check], self._checks[service.check].subject
        options = self._options(service.check)
        options.services = self._own if service.is_rest else None
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
