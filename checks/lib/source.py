"""What the checks read from beanstalkd, and how they are told which one."""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from beanwatch.checks.lib.memory import Memory, Scope
from beanwatch.checks.lib.plugin import MARGIN, Check, Failure, Metric
from beanwatch.checks.lib.plugin_process import Parser, UsageError, Voice
from beanwatch.config import Config
from beanwatch.net.address import AddressError
from beanwatch.queues.beanstalkd.connection import Link, ServerError
from beanwatch.queues.beanstalkd.heads import Peek, read_heads
from beanwatch.queues.beanstalkd.stats import (
    Stats,
    count_of,
    read_server,
    read_tube_names,
    read_tubes,
    take_off_own,
)
from beanwatch.queues.servers import Server, resolve_servers
from beanwatch.telemetry.series import node

if TYPE_CHECKING:
    from beanwatch.checks.lib.redis_source import ReadWorkers
    from beanwatch.store.heartbeats import Worker

# A worker between two jobs looks stalled for an instant: look again after so many seconds.
SECOND_LOOK = 0.5
# Without so many seconds for each server after that there is none.
LEAST_SHARE = 0.1


class Queue(NamedTuple):
    """One queue of one server; `stats` is None when the queue is not there.

    What needs more than one look at `stats-tube` is filled in by the check that wants it:
    `waited` is for how many seconds the next ready job has, `consumers` is a word of
    `beanwatch.queues.consumers.STATES` or `frozen`, `workers` the heartbeats for this queue.
    """

    label: str  # in performance data and texts: `queue`, or `server/queue` if there are several
    server: Server
    name: str
    stats: Stats | None
    waited: float | None = None
    consumers: str = ""
    workers: "tuple[Worker, ...] | None" = None

    @property
    def key(self) -> str:
        """Its name in the check's memory."""
        return f"{self.server.node}/{self.name}"

    def get(self, field: str) -> int:
        """A count of `stats-tube`, 0 when the queue is not there."""
        value = (self.stats or {}).get(field, 0)
        return value if isinstance(value, int) else 0


class Source(Protocol):
    """Where server and queue stats come from. Every method raises ServerError."""

    servers: Sequence[Server]
    notes: list[str]  # what went wrong beside the point, for the long output

    @property
    def memory(self) -> "Memory | Scope": ...

    def queues(self, server: Server, names: Iterable[str] | None) -> Mapping[str, Stats]: ...

    def wait(self, servers: Sequence[Server]) -> bool: ...

    def again(self, server: Server, names: Sequence[str]) -> tuple[Stats, Mapping[str, Stats]]: ...

    def everything(self, server: Server) -> tuple[Stats, Mapping[str, Stats]]: ...

    def stats(self, server: Server) -> Stats: ...

    def heads(self, server: Server, names: Sequence[str]) -> Mapping[str, Stats]: ...

    def workers(self) -> "Sequence[Worker] | None": ...


class Live:
    """Asks each server when a check wants to know; every server gets its share of the time."""

    def __init__(
        self,
        servers: Sequence[Server],
        memory: Memory,
        timeout: float,
        voice: Voice,
        read_workers: "ReadWorkers | None" = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.servers = servers
        self.memory = memory
        self.notes: list[str] = []
        self._read_workers = read_workers
        self._workers: Sequence[Worker] | None = None
        self._left = len(servers)
        self._links: dict[Server, Link] = {}
        self._clock, self._sleep = clock, sleep
        self._end = clock() + timeout
        self._voice = voice

    def _link(self, server: Server) -> Link:
        """One connection to each server, closed by the end of the process."""
        if server not in self._links:
            self._voice.doing, self._voice.runbook = f"asking {server.address}", "queue-server"
            self._links[server] = Link(server.address, self._share())
        return self._links[server]

    def _share(self) -> float:
        """The next server's part of the time that is left, in seconds."""
        share = (self._end - self._clock()) / max(1, self._left)
        self._left -= 1
        return max(0.01, round(share, 2))

    def close(self) -> None:
        """For a process that goes on."""
        for link in self._links.values():
            link.close()

    def queues(self, server: Server, names: Iterable[str] | None) -> dict[str, Stats]:
        """`stats-tube` of the named queues, or of all; those that are not there are left out."""
        link = self._link(server)
        queues = dict(read_tubes(link, read_tube_names(link) if names is None else names))
        if default := queues.get("default"):
            take_off_own(default)
        return queues

    def wait(self, servers: Sequence[Server]) -> bool:
        """Let a moment pass before these are asked `again`; False if there is no time for it."""
        if self._end - self._clock() < SECOND_LOOK + LEAST_SHARE * len(servers):
            return False
        self._sleep(SECOND_LOOK)
        self._left = len(servers)
        return True

    def again(self, server: Server, names: Sequence[str]) -> tuple[Stats, dict[str, Stats]]:
        """The server and these queues a moment later, within a share of its own."""
        self._link(server).extend(self._share())
        return self.stats(server), self.queues(server, names)

    def stats(self, server: Server) -> Stats:
        """`stats` of the server."""
        return read_server(self._link(server))

    def everything(self, server: Server) -> tuple[Stats, dict[str, Stats]]:
        """`stats` of the server and of every queue."""
        return self.stats(server), self.queues(server, None)

    def workers(self) -> "Sequence[Worker] | None":
        """All heartbeats, or None without a Redis: they only add to what the server says."""
        if self._read_workers is not None:
            from beanwatch.net.redis_url import RedisError

            try:
                self._workers = self._read_workers()
            except RedisError as error:
                self.notes.append(f"Not compared with the heartbeats: {error}")
            self._read_workers = None
        return self._workers

    def heads(self, server: Server, names: Sequence[str]) -> dict[str, Stats]:
        """`stats-job` of the ready job that is next, {} where there is none any more.

        Left out is what is not looked at because bodies there may be too large to peek at.
        """
        link = self._link(server)
        largest = count_of(read_server(link), "max-job-size")
        found: dict[str, Stats] = {}
        left: Sequence[Peek] = [Peek(name, "ready") for name in names]
        while left:
            heads = read_heads(link, left, largest)
            found |= {peek.tube: job for peek, job in heads.jobs.items()}
            if len(heads.left) == len(left):
                break
            left = heads.left
        return found


def add_servers(parser: Parser) -> None:
    """`-H -p --server`."""
    parser.add_argument("-H", "--hostname", "--host", metavar="HOST", help="beanstalkd's host")
    parser.add_argument("-p", "--port", metavar="PORT", help="its port (default: 11300)")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME|ADDRESS",
        help="a server of the configuration, host:port, [::1]:port or unix:/path; repeatable",
    )
    parser.add_argument(
        "--state", metavar="DIR", help="where to remember things (default: /var/tmp/beanwatch-UID)"
    )


def pick_servers(options: argparse.Namespace, config: Config) -> list[Server]:
    """The servers that the arguments name, else all of the configuration. Raises UsageError."""
    wanted = list(options.server)
    # Also when it is empty, as a macro of Nagios may be: then no other server is meant.
    if options.hostname is not None:
        host = options.hostname
        if options.port and not host.startswith("unix:"):
            host = f"[{host}]" if ":" in host and not host.startswith("[") else host
            host = f"{host}:{options.port}"
        wanted.append(host)
    elif options.port is not None:
        wanted.append(f"127.0.0.1:{options.port}")
    try:
        return resolve_servers(config.servers, wanted)
    except AddressError as error:
        raise UsageError(str(error)) from None


Build = Callable[[argparse.Namespace, Config, Source], Check]


def live(build: Build) -> Callable[[argparse.Namespace, Config, Voice], Check]:
    """The check with the real servers as its source."""

    def with_servers(options: argparse.Namespace, config: Config, voice: Voice) -> Check:
        servers = pick_servers(options, config)
        arguments = sorted((key, str(value)) for key, value in vars(options).items())
        memory = Memory.of(voice.name, arguments, options.state)
        timeout = options.timeout * MARGIN
        read = None
        if "redis" in options and (options.redis or config.redis.url):
            from beanwatch.checks.lib.redis_source import live_workers

            read = live_workers(options, config, voice)
        return build(options, config, Live(servers, memory, timeout, voice, read))

    return with_servers


def failure(server: Server, config: Config, error: ServerError) -> Metric:
    """The metric of a server that could not be asked, by its name if the configuration has one."""
    timed_out = isinstance(error.__context__, TimeoutError)
    names = (name for name, address in config.servers.items() if name != address)
    reason = str(error).removeprefix(f"{server.address}: ")
    address = str(server.address)
    named = f"{server.node} ({address})" if server.node in map(node, names) else address
    failure = Failure(f"{named}: {reason}", timed_out, "queue-server")
    return Metric(server.node, failure, context="failure")
