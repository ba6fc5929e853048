"""All checks in one process: one poll of each server, one read of Redis, every service judged."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from beanwatch.checks import (
    beanstalkd,
    job_failures,
    metrics_fresh,
    tube_age,
    tube_buried,
    tube_consumers,
    tube_depth,
    worker_heartbeat,
)
from beanwatch.checks.memory import Memory, Scope
from beanwatch.checks.objects import Service
from beanwatch.checks.plugin import MARGIN, Check, Critical, Outcome, Unknown, conclude
from beanwatch.checks.process import UsageError, Voice
from beanwatch.checks.redis_source import open_redis, read_from
from beanwatch.checks.source import Live
from beanwatch.collectors.consumers import decide_consumers
from beanwatch.collectors.heartbeats import Worker, read_workers
from beanwatch.collectors.outcomes import JobKind, read_outcomes
from beanwatch.collectors.protocol import ServerError
from beanwatch.collectors.redis_link import RedisError
from beanwatch.collectors.servers import Server
from beanwatch.collectors.stats import Stats
from beanwatch.config import Config, ConfigError

TUBE_MODULES: Mapping[str, Any] = {
    "tube_depth": tube_depth,
    "tube_buried": tube_buried,
    "tube_age": tube_age,
    "tube_consumers": tube_consumers,
}


MOST_TUBES = 20_000  # of a server, that are remembered


class Poll(NamedTuple):
    """What one server said, or why it did not."""

    error: ServerError | None
    stats: Stats
    tubes: Mapping[str, Stats]
    heads: Mapping[str, Stats]
    # The tubes that looked stalled, a moment later; None if there was no time for that.
    later: tuple[Stats, Mapping[str, Stats]] | None


def poll(server: Server, memory: Memory, timeout: float, voice: Voice) -> Poll:
    """Ask one server for all that any check wants to know. Whatever happens is its error alone."""
    live = Live([server], memory, timeout, voice)
    try:
        stats, tubes = live.everything(server)
        busy = [name for name, tube in tubes.items() if tube.get("current-jobs-ready")]
        doubtful = [
            name
            for name in busy
            if decide_consumers(tube_consumers.consumers(tubes[name], stats)) == "stalled"
        ]
        heads = live.heads(server, busy) if busy else {}
        is_twice = bool(doubtful) and live.wait([server])
        later = live.again(server, doubtful) if is_twice else None
        return Poll(None, stats, tubes, heads, later)
    except Exception as error:
        if not isinstance(error, ServerError):
            error = ServerError(f"{server.address}: {internal(error)}")
            print(f"beanwatch: {error}", file=sys.stderr)  # noqa: T201
        return Poll(error, {}, {}, {}, None)
    finally:
        live.close()


def internal(error: Exception) -> str:
    """The words for a fault of ours."""
    return f"internal error, please report it: {type(error).__name__}: {error}"


class Snapshot:
    """The source of every check of one round; each check has its own part of the memory."""

    def __init__(
        self,
        polls: Mapping[Server, Poll],
        memory: Scope,
        workers: Sequence[Worker] | None,
        servers: Sequence[Server],
    ) -> None:
        self._polls, self._workers = polls, workers
        self.memory = memory
        self.servers = servers
        self.notes: list[str] = []

    def _poll(self, server: Server) -> Poll:
        found = self._polls[server]
        if found.error:
            raise found.error
        return found

    def tubes(self, server: Server, names: Iterable[str] | None) -> Mapping[str, Stats]:
        """As Live does."""
        tubes = self._poll(server).tubes
        return tubes if names is None else {name: tubes[name] for name in names if name in tubes}

    def wait(self, servers: Sequence[Server]) -> bool:
        """As Live does: the moment has passed, of those for which there was time."""
        return True

    def again(self, server: Server, names: Sequence[str]) -> tuple[Stats, Mapping[str, Stats]]:
        """As Live does."""
        found = self._poll(server)
        stats, later = found.later or (found.stats, found.tubes)
        return stats, {name: later[name] for name in names if name in later}

    def everything(self, server: Server) -> tuple[Stats, Mapping[str, Stats]]:
        """As Live does."""
        return self._poll(server).stats, self._poll(server).tubes

    def stats(self, server: Server) -> Stats:
        """As Live does."""
        return self._poll(server).stats

    def heads(self, server: Server, names: Sequence[str]) -> Mapping[str, Stats]:
        """As Live does."""
        heads = self._poll(server).heads
        return {name: heads[name] for name in names if name in heads}

    def workers(self) -> Sequence[Worker] | None:
        """As Live does."""
        return self._workers


class Result(NamedTuple):
    """What is submitted for one service."""

    service: Service
    outcome: Outcome


class Round:
    """One evaluation of all services."""

    def __init__(self, config: Config, servers: Sequence[Server], timeout: float) -> None:
        self._config, self._servers, self._timeout = config, servers, timeout
        self._voice = Voice("passive")  # its `doing` is for a watchdog, which is not needed here
        self._defaults = {
            name: module.parser().parse_args([])
            for name, module in (
                *TUBE_MODULES.items(),
                ("beanstalkd", beanstalkd),
                ("worker_heartbeat", worker_heartbeat),
                ("job_failures", job_failures),
                ("metrics_fresh", metrics_fresh),
            )
        }

    def read(self) -> None:
        """Poll all servers side by side, and Redis."""
        addresses = [str(server.address) for server in self._servers]
        file = self._config.file and os.path.abspath(self._config.file)
        self.memory = Memory.of("passive", (file, addresses))
        with ThreadPoolExecutor(max(1, len(self._servers))) as pool:
            budget = self._timeout * MARGIN
            tasks = [pool.submit(poll, s, self.memory, budget, self._voice) for s in self._servers]
            self._polls = dict(zip(self._servers, (task.result() for task in tasks), strict=True))
        self._workers: Sequence[Worker] | None = None
        self._redis_error: RedisError | None = None
        try:
            with open_redis(self._options("worker_heartbeat"), self._config, self._voice) as link:
                self._workers = read_from(link, read_workers)
                self._outcomes = read_from(
                    link, partial(read_outcomes, minutes=job_failures.MINUTES)
                )
        except RedisError as error:
            self._redis_error = error
        except (UsageError, ConfigError) as error:  # an URL, or a password file: the rest is judged
            self._redis_error = RedisError(str(error))

    def tubes(self) -> dict[str, list[str]]:
        """The tubes found lately, by the node of their server.

        An empty tube that nobody uses is gone, but not its services, which wait for results.
        """
        tubes = {}
        for server, found in self._polls.items():
            key = f"tubes of {server.node}"
            before = self.memory.recall(key)
            seen = dict.fromkeys(before if isinstance(before, list) else ())
            seen = dict.fromkeys([*found.tubes, *seen])
            tubes[server.node] = list(seen)[:MOST_TUBES]
            self.memory.remember(key, tubes[server.node])
        return tubes

    def judge(self, services: Iterable[Service]) -> Iterator[Result]:
        """A result for every service. One that cannot be judged is UNKNOWN, and stops no other."""
        by_node = {server.node: server for server in self._servers}
        for service in services:
            try:
                check = self._build(service, by_node)
                outcome = conclude(check, self._config.links)
            except Exception as error:
                outcome = Outcome(service.check, Unknown, internal(error))
            yield Result(service, outcome)

    def save(self) -> None:
        """Remember for the next round."""
        self.memory.save()

    def _build(self, service: Service, by_node: Mapping[str, Server]) -> Check:
        options = self._options(service.check)
        if service.check == "worker_heartbeat":
            return worker_heartbeat.build(options, self._config, self._read_workers)
        if service.check == "job_failures":
            return job_failures.build(options, self._config, self._read_outcomes)
        if service.check == "metrics_fresh":
            return metrics_fresh.live(options, self._config, self._voice)
        scope = self.memory.scoped(service.check)
        workers = self._workers if self._config.redis.url else None
        snapshot = Snapshot(self._polls, scope, workers, [by_node[service.host]])
        if service.check == "beanstalkd":
            options.timeout_state = Critical
            return beanstalkd.build(options, self._config, snapshot)
        options.tube = [service.tube]
        check: Check = TUBE_MODULES[service.check].build(options, self._config, snapshot)
        return check

    def _options(self, check: str) -> argparse.Namespace:
        options = argparse.Namespace(**vars(self._defaults[check]))
        options.timeout, options.timeout_state = self._timeout, Unknown
        return options

    def _read_workers(self) -> Sequence[Worker]:
        if self._redis_error:
            raise self._redis_error
        return self._workers or ()

    def _read_outcomes(self) -> Mapping[JobKind, Counter[str]]:
        if self._redis_error:
            raise self._redis_error
        return self._outcomes
