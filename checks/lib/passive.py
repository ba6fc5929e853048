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
    job_failures,
    metrics_fresh,
    queue_age,
    queue_buried,
    queue_consumers,
    queue_depth,
    queue_server,
    worker_heartbeat,
)
from beanwatch.checks.lib.memory import Memory, Scope
from beanwatch.checks.lib.objects import Service
from beanwatch.checks.lib.plugin import MARGIN, Check, Critical, Outcome, Unknown, conclude
from beanwatch.checks.lib.plugin_process import UsageError, Voice
from beanwatch.checks.lib.redis_source import open_redis, read_from
from beanwatch.checks.lib.source import Live
from beanwatch.config import Config, ConfigError
from beanwatch.net.redis_url import RedisError
from beanwatch.queues.beanstalkd.connection import ServerError
from beanwatch.queues.beanstalkd.stats import Stats
from beanwatch.queues.consumers import decide_consumers
from beanwatch.queues.servers import Server
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.store.outcome_counts import JobKind, read_outcomes

QUEUE_MODULES: Mapping[str, Any] = {
    "queue_depth": queue_depth,
    "queue_buried": queue_buried,
    "queue_age": queue_age,
    "queue_consumers": queue_consumers,
}


MOST_QUEUES = 20_000  # of a server, that are remembered


class Poll(NamedTuple):
    """What one server said, or why it did not."""

    error: ServerError | None
    stats: Stats
    queues: Mapping[str, Stats]
    heads: Mapping[str, Stats]
    # The queues that looked stalled, a moment later; None if there was no time for that.
    later: tuple[Stats, Mapping[str, Stats]] | None


def poll(server: Server, memory: Memory, timeout: float, voice: Voice) -> Poll:
    """Ask one server for all that any check wants to know. Whatever happens is its error alone."""
    live = Live([server], memory, timeout, voice)
    try:
        stats, queues = live.everything(server)
        busy = [name for name, queue in queues.items() if queue.get("current-jobs-ready")]
        doubtful = [
            name
            for name in busy
            if decide_consumers(queue_consumers.consumers(queues[name], stats)) == "stalled"
        ]
        heads = live.heads(server, busy) if busy else {}
        is_twice = bool(doubtful) and live.wait([server])
        later = live.again(server, doubtful) if is_twice else None
        return Poll(None, stats, queues, heads, later)
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

    def queues(self, server: Server, names: Iterable[str] | None) -> Mapping[str, Stats]:
        """As Live does."""
        queues = self._poll(server).queues
        return queues if names is None else {name: queues[name] for name in names if name in queues}

    def wait(self, servers: Sequence[Server]) -> bool:
        """As Live does: the moment has passed, of those for which there was time."""
        return True

    def again(self, server: Server, names: Sequence[str]) -> tuple[Stats, Mapping[str, Stats]]:
        """As Live does."""
        found = self._poll(server)
        stats, later = found.later or (found.stats, found.queues)
        return stats, {name: later[name] for name in names if name in later}

    def everything(self, server: Server) -> tuple[Stats, Mapping[str, Stats]]:
        """As Live does."""
        return self._poll(server).stats, self._poll(server).queues

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
                *QUEUE_MODULES.items(),
                ("queue_server", queue_server),
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

    def queues(self) -> dict[str, list[str]]:
        """The queues found lately, by the node of their server.

        An empty queue that nobody uses is gone, but not its services, which wait for results.
        """
        queues = {}
        for server, found in self._polls.items():
            key = f"queues of {server.node}"
            before = self.memory.recall(key)
            seen = dict.fromkeys(before if isinstance(before, list) else ())
            seen = dict.fromkeys([*found.queues, *seen])
            queues[server.node] = list(seen)[:MOST_QUEUES]
            self.memory.remember(key, queues[server.node])
        return queues

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
        if service.check == "queue_server":
            options.timeout_state = Critical
            return queue_server.build(options, self._config, snapshot)
        options.queue = [service.queue]
        check: Check = QUEUE_MODULES[service.check].build(options, self._config, snapshot)
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
